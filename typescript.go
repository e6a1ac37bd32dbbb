package gatehouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/gatehouse-dev/gatehouse/client/browser"
	"github.com/gatehouse-dev/gatehouse/internal/typescript"
)

// typescriptCommand returns the command that writes the TypeScript of the application's services
// for front ends. It reads no settings.
func (p *program) typescriptCommand(stderr io.Writer) *cobra.Command {
	cfg := typescript.Config{Comments: p.app.Comments, Browser: browser.Files, Log: stderr}
	cmd := &cobra.Command{
		Use: "typescript", Args: p.noArgs,
		Short: "Write TypeScript for a front end: clients of the services, and the browser package; typescript --help lists its flags.",
		Long: `Writes what a front end uses of the application: the messages and services of its
.proto files, for clients of Connect and gRPC-Web; the types of its REST paths;
and the npm package gatehouse-browser, which fits this program. It needs Node.js
20 or newer with npm.`,
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Out, "out", "web/src/gen", "`directory` to write, in that of a package.json; files of others in it stay")
	flags.StringSliceVar(&cfg.Parts, "only", typescript.Parts, "`parts` to write: some of connect, rest, browser")
	flags.BoolVar(&cfg.Install, "install", false, "add the npm packages that the code needs")
	flags.BoolVar(&cfg.Check, "check", false, "write nothing, and fail if a file is stale")
	cmd.SetHelpFunc(func(*cobra.Command, []string) {
		fmt.Fprintf(p.out, "Usage: %s typescript [flags]\n\n%s\n\nFlags\n%s", p.app.name(), cmd.Long, cmd.LocalNonPersistentFlags().FlagUsages())
	})
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cfg.Check && cfg.Install {
			return p.misused(errors.New("--check writes nothing, and --install does; give one of them"))
		}
		for _, part := range cfg.Parts {
			if !slices.Contains(typescript.Parts, part) {
				return p.misused(fmt.Errorf("--only=%s: is not a choice; give some of %s", part, strings.Join(typescript.Parts, ", ")))
			}
		}
		return p.writeTypeScript(cmd.Context(), cfg)
	}
	return cmd
}

func (p *program) writeTypeScript(ctx context.Context, cfg typescript.Config) error {
	for _, s := range p.app.Services {
		if len(s.exposed) > 0 {
			cfg.Services = append(cfg.Services, s.desc.ServiceName)
		}
	}
	if slices.Contains(cfg.Parts, typescript.REST) {
		document, err := p.openAPI()
		if err != nil {
			return err
		}
		cfg.OpenAPI = document
	}
	return typescript.Run(ctx, cfg)
}
