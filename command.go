package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"reflect"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// The exit codes.
const (
	exitOK    = 0
	exitFail  = 1 // something went wrong while it ran
	exitUsage = 2 // it was asked for something that makes no sense
	// exitUnproved is check's: nothing is wrong, but what most providers allow
	// to be proved could not be.
	exitUnproved = 3
)

const description = `Gatehouse lets a browser application use gRPC services safely.

Settings come from flags, then the environment, then .env, then the YAML file
of --config. Each flag has a variable: --base-url is GATEHOUSE_BASE_URL.`

// commandLine is the program as kong sees it.
type commandLine struct {
	settings

	Dev     struct{} `cmd:"" help:"Run everything with a provider for development; needs no configuration."`
	Serve   struct{} `cmd:"" help:"Run bff, gateway and server in one process, with your provider."`
	BFF     struct{} `cmd:"" name:"bff" help:"Run the bff alone; needs --gateway-url."`
	Gateway struct{} `cmd:"" help:"Run the gateway alone; needs --grpc-target."`
	Server  struct{} `cmd:"" help:"Run the server alone."`
	Check   struct {
		JSON bool `name:"json" help:"Write the report as JSON."`
	} `cmd:"" help:"Validate the configuration, prove what can be proved at the provider, the stores and the database, and say what is wrong and how to mend it. Exit code 0: nothing is wrong; 1: something is; 3: nothing is, but not everything could be proved."`
	Version struct{} `cmd:"" help:"Print the version."`

	Reference struct{} `cmd:"" hidden:"" help:"Write the reference of all settings as Markdown."`
	OpenAPI   struct{} `cmd:"" hidden:"" name:"openapi" help:"Write the OpenAPI document."`

	Help struct{} `cmd:"" help:"Print this help."`
}

// Run runs the command and settings in args around app, and returns the exit
// code: 0 for success, 1 for a failure, 2 for arguments and values of the wrong
// form, 3 if check could not prove everything. environ has the form of
// os.Environ. Run returns when the command has ended; serving commands end with
// ctx, after the work in flight.
func Run(ctx context.Context, app App, args, environ []string, stdout, stderr io.Writer) int {
	if len(args) == 0 || args[0] == "help" {
		args = []string{"--help"}
	}
	from := &sources{}
	if !informs(args) {
		var err error
		if from, err = readSources(environ, configFlag(args)); err != nil {
			return complain(stderr, exitUsage, err)
		}
	}
	var line commandLine
	exited := false
	parser, err := newParser(&line, from, stdout, stderr, func(int) { exited = true })
	if err != nil {
		return complain(stderr, exitFail, err)
	}
	parsed, err := parser.Parse(args)
	switch {
	case exited: // by --help
		return exitOK
	case err != nil:
		return complain(stderr, exitUsage, fmt.Errorf("%s; gatehouse help lists commands and settings", named(err)))
	}
	command := parsed.Command()
	if command == "version" {
		fmt.Fprintln(stdout, "gatehouse", version())
		return exitOK
	}
	if command == "reference" {
		writeReference(stdout, parser.Model)
		return exitOK
	}
	cfg := line.config()
	cfg.app, cfg.Output = app, stdout
	level := line.LogLevel
	if command == "check" && level == "info" {
		level = "warn" // the report says the rest
	}
	cfg.Logger = newLogger(stderr, line.LogFormat, level, command == "dev")
	for _, note := range slices.Concat(from.notes, line.assumed()) {
		fmt.Fprintln(stderr, "gatehouse: note:", note)
	}
	for _, name := range from.unknown(parser.Model) {
		fmt.Fprintf(stderr, "gatehouse: note: %s is the name of no setting and has no effect\n", name)
	}
	if err := execute(ctx, command, cfg, line.Check.JSON); err != nil {
		switch {
		case errors.Is(err, errCheck):
			return exitFail
		case errors.Is(err, errUnproved):
			return exitUnproved
		}
		return complain(stderr, exitFail, err)
	}
	return exitOK
}

func execute(ctx context.Context, command string, cfg config, asJSON bool) error {
	switch command {
	case "dev":
		return runDev(ctx, cfg)
	case "serve":
		return runParts(ctx, cfg, allParts)
	case "bff":
		return runParts(ctx, cfg, partSet{BFF: true})
	case "gateway":
		return runParts(ctx, cfg, partSet{Gateway: true})
	case "server":
		return runParts(ctx, cfg, partSet{Server: true})
	case "openapi":
		return writeOpenAPI(cfg)
	default: // kong knows no others
		return runCheck(ctx, cfg, asJSON)
	}
}

func newParser(line *commandLine, from *sources, stdout, stderr io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(line,
		kong.Name("gatehouse"),
		kong.Description(description),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.ValueFormatter(func(v *kong.Value) string {
			if !v.HasDefault || v.Default == "" || v.IsBool() {
				return v.Help
			}
			return v.Help + " Default: " + v.Default + "."
		}),
		kong.Resolvers(from),
		kong.KindMapper(reflect.Int, kong.MapperFunc(decodeNumber)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, FlagsLast: true}),
	)
}

// informs reports whether the program is only asked about itself. A broken
// configuration must not stand in the way of that.
func informs(args []string) bool {
	return slices.ContainsFunc(args, func(arg string) bool {
		return arg == "--help" || arg == "-h" || arg == "version"
	})
}

// named adds the variable to an error that names a flag, since the value may
// have come from there.
func named(err error) string {
	text := err.Error()
	if m := choiceInError.FindStringSubmatch(text); m != nil {
		choices := strings.ReplaceAll(strings.ReplaceAll(m[2], `"`, ""), ",", ", ")
		text = fmt.Sprintf("--%s: %s is not a choice; give one of %s", m[1], m[3], choices)
	}
	return flagInError.ReplaceAllStringFunc(text, func(match string) string {
		flag := flagInError.FindStringSubmatch(match)[1]
		return "GATEHOUSE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) + " (--" + flag + "): "
	})
}

var (
	flagInError   = regexp.MustCompile(`^--([a-z-]+)(?:=\S+)?: `)
	choiceInError = regexp.MustCompile(`^--([a-z-]+) must be one of (\S+) but got (.*)$`)
)

// configFlag finds --config before the rest is parsed, since the file holds
// values for the rest.
func configFlag(args []string) string {
	for i, arg := range args {
		if value, ok := strings.CutPrefix(arg, "--config="); ok {
			return value
		}
		if arg == "--config" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

// complain prints an error, one line for each thing that is wrong.
func complain(stderr io.Writer, code int, err error) int {
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintln(stderr, "gatehouse:", strings.TrimSpace(line))
	}
	return code
}

func newLogger(w io.Writer, format, level string, development bool) *slog.Logger {
	var least slog.Level
	_ = least.UnmarshalText([]byte(level)) // kong has checked it
	options := &slog.HandlerOptions{Level: least}
	var h slog.Handler = slog.NewJSONHandler(w, options)
	if format == "text" || format == "auto" && development {
		h = slog.NewTextHandler(w, options)
	}
	return slog.New(requestid.LogHandler(h))
}

// version is the module's, and the commit where the build knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "(unknown)"
	}
	text := info.Main.Version
	if text == "" {
		text = "(devel)"
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			text += " " + s.Value[:12]
		}
	}
	return text + " " + info.GoVersion
}
