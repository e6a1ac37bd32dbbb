package gatehouse

import (
	"bytes"
	"encoding/json"
	"io"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// writeReference writes the reference of all settings in Markdown.
func (p *program) writeReference() error {
	_, err := io.WriteString(p.out, referenceIntroduction+p.table.Reference())
	return err
}

const referenceIntroduction = `# Configuration

<!-- Written by the command "reference"; do not edit. -->

A setting comes from the first of these sources that has it: a flag, the
environment, ` + "`.env`" + ` in the working directory, the YAML file that ` + "`--config`" + ` or
` + "`GATEHOUSE_CONFIG`" + ` names. An empty variable counts as unset. In the YAML file a
setting has the name of its flag (` + "`oidc-issuer: https://…`" + `), lists may be YAML
lists, and an unknown key stops the start.

Files are UTF-8. A byte order mark and Windows line ends are accepted, other
encodings are refused. Whitespace and quotes around a value are removed, with a
note. A line of ` + "`.env`" + ` that is not NAME=value is skipped, with a note that has its
number.

Lists are separated by commas. Durations are written like ` + "`90s`, `15m` or `24h`" + `.
0 means the default of a number or a duration. Addresses have a scheme; if base URL
or issuer is a host alone, and not on loopback, https is added with a note.

All problems are reported at once. Each has the source of the value, such as
` + "`--base-url`, `GATEHOUSE_BASE_URL (environment)`, `GATEHOUSE_BASE_URL (.env:3)`" + ` or
` + "`gatehouse.yaml:12: base-url`" + `, what is wrong, and the remedy. Unsafe and
contradictory settings stop the start. [` + "`gatehouse check`" + `](check.md) reports the same
for ` + "`gatehouse serve`" + ` without starting it, and proves what it can at the provider,
the stores and the database.
`

// writeOpenAPI writes the OpenAPI document of the application's services, for
// generators of clients.
func (p *program) writeOpenAPI() error {
	g, err := gateway.New(gateway.Config{
		Conn: new(grpc.ClientConn), Services: exposedServices(p.app.Services),
		Document: gateway.DocumentConfig{Title: p.app.Title, Version: p.app.Version, Comments: p.app.Comments},
	})
	if err != nil {
		return err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, g.OpenAPI(), "", "  "); err != nil {
		return err
	}
	indented.WriteByte('\n')
	_, err = indented.WriteTo(p.out)
	return err
}
