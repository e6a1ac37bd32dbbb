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

<!-- Generated from settings.go by "make generate"; edit there. -->

A setting comes from the first of these that has it: a flag, the environment,
` + "`.env`" + ` in the working directory, the YAML file that ` + "`--config`" + ` or
` + "`GATEHOUSE_CONFIG`" + ` names. An empty variable counts as unset. In the YAML file a
setting is called as its flag (` + "`oidc-issuer: https://…`" + `), lists may be YAML
lists, and a key that no setting has stops the start.

Files are UTF-8; a byte order mark and Windows line ends do no harm, other
encodings are refused. Whitespace and quotes around a value, which come with
pasting or with a file that no shell reads, are left out with a note. A line of
` + "`.env`" + ` that is not NAME=value is skipped with a note that has its number.

Lists are separated by commas, durations are written like ` + "`90s`, `15m` or `24h`" + `,
and 0 stands for the default of a number or a duration. Addresses have a scheme;
https is added, with a note, where base URL or issuer is a host alone and not on
loopback.

What is unsafe or contradictory is refused at the start with the name of the
setting and the remedy; [` + "`gatehouse check`" + `](check.md) tells the same of
` + "`gatehouse serve`" + ` without starting it, and proves what it can at the provider, the
stores and the database.
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
