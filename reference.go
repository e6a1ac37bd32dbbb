package gatehouse

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/alecthomas/kong"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// writeReference writes the reference of all settings in Markdown.
func writeReference(out io.Writer, model *kong.Application) {
	io.WriteString(out, `# Configuration

<!-- Generated from settings.go by "make generate"; edit there. -->

A setting comes from the first of these that has it: a flag, the environment,
`+"`.env`"+` in the working directory, the YAML file that `+"`--config`"+` or
`+"`GATEHOUSE_CONFIG`"+` names. An empty variable counts as unset. In the YAML file a
setting is called as its flag (`+"`oidc-issuer: https://…`"+`), lists may be YAML
lists, and a key that no setting has stops the start.

Files are UTF-8; a byte order mark and Windows line ends do no harm, other
encodings are refused. Whitespace and quotes around a value, which come with
pasting or with a file that no shell reads, are left out with a note. A line of
`+"`.env`"+` that is not NAME=value is skipped with a note that has its number.

Lists are separated by commas, durations are written like `+"`90s`, `15m` or `24h`"+`,
and 0 stands for the default of a number or a duration. Addresses have a scheme;
https is added, with a note, where base URL or issuer is a host alone and not on
loopback.

What is unsafe or contradictory is refused at the start with the name of the
setting and the remedy; [`+"`gatehouse check`"+`](check.md) tells the same of
`+"`gatehouse serve`"+` without starting it, and proves what it can at the provider, the
stores and the database.
`)
	group := ""
	for _, f := range model.Flags {
		names := variables(f)
		if len(names) == 0 {
			continue
		}
		if f.Group.Title != group {
			group = f.Group.Title
			fmt.Fprintf(out, "\n## %s\n", group)
		}
		describe(out, f, names)
	}
}

func describe(out io.Writer, f *kong.Flag, names []string) {
	fmt.Fprintf(out, "\n### `%s`\n\n%s\n\n", names[0], f.Help)
	fmt.Fprintf(out, "- flag: `--%s`\n", f.Name)
	if len(names) > 1 {
		fmt.Fprintf(out, "- also read from the tutorial's `%s`\n", names[1])
	}
	if isSecret(f) {
		fmt.Fprintf(out, "- as a file: `%s_FILE`, or `%s-file` in the YAML file\n", names[0], f.Name)
	}
	if f.HasDefault {
		fmt.Fprintf(out, "- default: `%s`\n", f.Default)
	}
}

// writeOpenAPI writes the OpenAPI document of the application's services, for
// generators of clients.
func writeOpenAPI(cfg config) error {
	g, err := gateway.New(gateway.Config{
		Conn: new(grpc.ClientConn), Services: exposedServices(cfg.app.Services),
		Document: gateway.DocumentConfig{Title: cfg.app.Title, Version: cfg.app.Version, Comments: cfg.app.Comments},
	})
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, g.OpenAPI(), "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err = indented.WriteTo(cfg.Output)
	return err
}
