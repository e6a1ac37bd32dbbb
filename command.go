package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/gatehouse-dev/gatehouse/bff/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/buildinfo"
	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/suggest"
)

// The exit codes.
const (
	exitOK       = 0
	exitFail     = 1 // an error while the command ran
	exitUsage    = 2 // arguments or values of the wrong form
	exitUnproved = 3 // check found no error, but could not prove everything
)

// A usageError is an error in arguments or in the form of a source.
type usageError struct{ error }

// command returns the command line of the program.
func (p *program) command(environ []string, stderr io.Writer) *cobra.Command {
	name := p.app.name()
	root := &cobra.Command{
		Use:     name,
		Version: buildinfo.Read().String(),
		Long: `Gatehouse lets a browser application use gRPC services safely.

Settings come from flags, then the environment, then .env, then the YAML file
of --config. Each flag has a variable: --base-url is GATEHOUSE_BASE_URL.`,
		Args:          cobra.ArbitraryArgs,
		SilenceErrors: true, SilenceUsage: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return p.misused(unknownCommand(cmd, args[0]))
			}
			return cmd.Help()
		},
	}
	flags := p.table.AddFlags(root.PersistentFlags())
	p.completeValues(root)
	var asJSON bool
	sources := func() settings.Sources {
		return settings.Sources{Flags: flags, Environ: environ, Dotenv: p.dotenv()}
	}
	add := func(use, short string, run func(ctx context.Context) error) *cobra.Command {
		cmd := &cobra.Command{Use: use, Short: short, Args: p.noArgs}
		cmd.RunE = func(cmd *cobra.Command, _ []string) error {
			if err := p.start(use, use, sources(), stderr); err != nil {
				return err
			}
			return run(cmd.Context())
		}
		root.AddCommand(cmd)
		return cmd
	}
	serve := func(use, short string) {
		add(use, short, func(ctx context.Context) error { return p.run(ctx, p.partsOf(use)) })
	}
	add("dev", "Run everything with a provider for development; needs no configuration.", p.runDev)
	serve("serve", "Run bff, gateway and server in one process, with your provider; with --grpc-target, bff and gateway.")
	serve("bff", "Run the bff alone; needs --gateway-url.")
	serve("gateway", "Run the gateway alone; needs --grpc-target.")
	serve("server", "Run the server alone.")
	check := add("check", "Validate the configuration of serve, or of the one part that is named, prove what can be "+
		"proved at the provider, the stores, the database and other parts, and say what is wrong and how to correct it. "+
		"Exit code 0: nothing is wrong; 1: something is; 3: nothing is, but not everything could be proved. "+
		"With --json the report is JSON.", nil)
	check.Use, check.Args, check.ValidArgs = "check [bff|gateway|server]", p.onePart, checkedParts
	check.RunE = func(cmd *cobra.Command, args []string) error {
		part := "serve"
		if len(args) > 0 {
			part = args[0]
		}
		if err := p.start("check", part, sources(), stderr); err != nil {
			return err
		}
		return p.check(cmd.Context(), p.partsOf(part), asJSON)
	}
	check.Flags().BoolVar(&asJSON, "json", false, "Write the report as JSON.")

	root.AddCommand(p.typescriptCommand(stderr))

	// These read no settings, so that a broken configuration does not matter.
	write := func(use, short string, hidden bool, run func() error) {
		root.AddCommand(&cobra.Command{
			Use: use, Short: short, Hidden: hidden, Args: p.noArgs,
			RunE: func(*cobra.Command, []string) error { return run() },
		})
	}
	write("version", "Print the version, the commit and its date, and the Go version.", false, func() error {
		_, err := fmt.Fprintln(p.out, name, buildinfo.Read())
		return err
	})
	write("catalog", "Print the built-in catalog of the pages: name, logo, colors and texts, to start one's own from.", false, func() error {
		_, err := p.out.Write(catalog.Source())
		return err
	})
	write("reference", "Write the reference of all settings as Markdown.", true, p.writeReference)
	write("metrics", "Write the reference of all metrics as Markdown.", true, p.writeMetrics)
	write("openapi", "Write the OpenAPI document.", true, p.writeOpenAPI)

	root.SuggestionsMinimumDistance = 2
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SetHelpCommand(&cobra.Command{
		Use: "help", Short: "Print this help.",
		RunE: func(*cobra.Command, []string) error { return root.Help() },
	})
	root.SetHelpFunc(func(*cobra.Command, []string) { p.writeHelp(root) })
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return p.misused(p.flagError(err)) })
	root.SetOut(p.out)
	root.SetErr(stderr)
	return root
}

// completeValues registers what shells complete as the values of flags: choices, and
// files for --config.
func (p *program) completeValues(root *cobra.Command) {
	for _, s := range p.table {
		complete := cobra.FixedCompletions(s.Choices, cobra.ShellCompDirectiveNoFileComp)
		if s.Name == "config" || s.Name == "dev-users" {
			complete = cobra.FixedCompletions([]string{"yaml", "yml"}, cobra.ShellCompDirectiveFilterFileExt)
		}
		_ = root.RegisterFlagCompletionFunc(s.Name, complete) // an error means that it is registered already
	}
}

// start reads the settings for a command and the parts that it runs or checks. All
// problems of their form are one error, with what else is wrong as far as that can be
// told.
func (p *program) start(command, part string, from settings.Sources, stderr io.Writer) error {
	p.read(from)
	if runs[part].Server && !p.partsOf(part).Server {
		for _, name := range p.values.Given("Server.", "DatabaseURL", "FilesURL", "MaxFileBytes", "ListenGRPC") {
			p.values.Note(name, "has no effect, because the server is at "+p.values.Name("grpc-target"))
		}
	}
	for _, note := range p.values.Notes() {
		fmt.Fprintf(stderr, "%s: note: %s\n", p.app.name(), note)
	}
	if err := p.values.Err(); err != nil {
		if part != "dev" && p.values.Complete() {
			p.setDefaults()
			err = errors.Join(err, p.validate(p.partsOf(part)))
		}
		return &usageError{err}
	}
	_ = p.level.UnmarshalText([]byte(p.cfg.LogLevel)) // one of the setting's choices
	if command == "check" && p.level.Level() == slog.LevelInfo {
		p.level.Set(slog.LevelWarn) // the report has the rest
	}
	p.log = logs.NewBatch(stderr)
	p.logger = logs.New(p.log, p.cfg.LogFormat == "text" || p.cfg.LogFormat == "auto" && command == "dev", p.level, p.cfg.AccessLog)
	return nil
}

// runs has the parts that a command runs by default.
var runs = map[string]partSet{
	"dev": allParts, "serve": allParts,
	"bff": {BFF: true}, "gateway": {Gateway: true}, "server": {Server: true},
}

// partsOf returns the parts that a command runs. The server is elsewhere if there is
// a target.
func (p *program) partsOf(command string) partSet {
	which := runs[command]
	if which.Gateway && len(p.cfg.Servers.Targets) > 0 {
		which.Server = false
	}
	return which
}

// writeHelp writes commands and flags.
func (p *program) writeHelp(root *cobra.Command) {
	fmt.Fprintf(p.out, "Usage: %s <command> [flags]\n\n%s\n\nCommands\n", p.app.name(), root.Long)
	for _, c := range root.Commands() {
		if !c.Hidden {
			fmt.Fprintf(p.out, "  %-11s %s\n", c.Name(), c.Short)
		}
	}
	fmt.Fprint(p.out, p.table.Usage(100))
}

// noArgs refuses arguments behind a command.
func (p *program) noArgs(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return p.misused(fmt.Errorf("unexpected argument %s", settings.Unassigned(args[0])))
	}
	return nil
}

// checkedParts are the arguments of check, for shell completion too.
var checkedParts = []string{"serve", "bff", "gateway", "server"}

// onePart refuses arguments of check other than the name of one part.
func (p *program) onePart(_ *cobra.Command, args []string) error {
	switch {
	case len(args) > 1:
		return p.noArgs(nil, args[1:])
	case len(args) == 1 && !slices.Contains(checkedParts, args[0]):
		text := fmt.Sprintf("%q is no part to check; give one of %s", settings.Unassigned(args[0]), strings.Join(checkedParts, ", "))
		return p.misused(errors.New(text))
	}
	return nil
}

// misused returns the error about a command line.
func (p *program) misused(err error) error {
	return &usageError{fmt.Errorf("%w; %s help lists commands and settings", err, p.app.name())}
}

// unknownCommand returns the error about a command that does not exist.
func unknownCommand(root *cobra.Command, name string) error {
	text := fmt.Sprintf("unknown command %q", settings.Unassigned(name))
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		text += "; did you mean " + strings.Join(similar, " or ") + "?"
	}
	return errors.New(text)
}

// flagError adds the flag that was most likely meant to an error of pflag.
func (p *program) flagError(err error) error {
	if _, ok := errors.AsType[*pflag.InvalidSyntaxError](err); ok { // which quotes the value
		return errors.New("an argument begins with hyphens and is no flag; write --NAME=VALUE")
	}
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return err
	}
	names := make([]string, len(p.table))
	for i, s := range p.table {
		names[i] = s.Name
	}
	name := settings.Unassigned(unknown.GetSpecifiedName())
	text := "unknown flag --" + name
	if similar := suggest.Name(name, names); similar != "" {
		text += "; did you mean --" + similar + "?"
	}
	return errors.New(text)
}

// execute runs the command in args and returns the exit code. Reports go to p.out,
// everything else to stderr.
func (p *program) execute(ctx context.Context, args, environ []string, stderr io.Writer) int {
	root := p.command(environ, stderr)
	root.SetArgs(slices.Concat([]string{}, args)) // nil would mean os.Args
	err := root.ExecuteContext(ctx)
	usage, isUsage := errors.AsType[*usageError](err)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errCheck):
		return exitFail
	case errors.Is(err, errUnproved):
		return exitUnproved
	case isUsage:
		return p.complain(stderr, exitUsage, usage.error)
	}
	return p.complain(stderr, exitFail, err)
}

// complain writes an error, one line for each problem.
func (p *program) complain(stderr io.Writer, code int, err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(stderr, "%s: %s\n", p.app.name(), strings.TrimSpace(line))
	}
	return code
}
