package gatehouse

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"io"

	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
	"github.com/gatehouse-dev/gatehouse/internal/telemetry"
)

// writeReference writes the reference of all settings in Markdown.
func (p *program) writeReference() error {
	_, err := io.WriteString(p.out, referenceIntroduction+p.table.Reference())
	return err
}

// referenceIntroduction says what holds for all settings.
//
//go:embed reference.md
var referenceIntroduction string

// writeMetrics writes the reference of all metrics in Markdown.
func (p *program) writeMetrics() error {
	reference, err := telemetry.Reference()
	if err != nil {
		return err
	}
	_, err = io.WriteString(p.out, reference)
	return err
}

// writeOpenAPI writes the OpenAPI document of the application's services.
func (p *program) writeOpenAPI() error {
	document, err := p.openAPI()
	if err != nil {
		return err
	}
	_, err = p.out.Write(document)
	return err
}

// openAPI returns the OpenAPI document of the application's services, for generators of
// clients.
func (p *program) openAPI() ([]byte, error) {
	g, err := gateway.New(gateway.Config{
		Conn: new(grpc.ClientConn), Services: exposedServices(p.app.Services),
		Document: gateway.DocumentConfig{Title: p.app.Title, Version: p.app.Version, Comments: p.app.Comments},
	})
	if err != nil {
		return nil, err
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, g.OpenAPI(), "", "  "); err != nil {
		return nil, err
	}
	indented.WriteByte('\n')
	return indented.Bytes(), nil
}
