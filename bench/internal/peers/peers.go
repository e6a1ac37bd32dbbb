//go:build linux

package peers

import (
	"context"
	"embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"text/template"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// Handwritten returns the rows that are this program in a role.
func Handwritten() []rows.Row { return []rows.Row{jwxRow(), vanguardRow()} }

// Installed returns the rows that need programs which are installed, downloaded or built.
func Installed() []rows.Row {
	return slices.Concat(envoyRows(), []rows.Row{apacheRow(), oauth2ProxyRow(), tutorialRow()})
}

// Roles are the servers that this program is itself, by the name of the role.
func Roles() map[string]func(ctx context.Context, address string, args []string) error {
	return map[string]func(context.Context, string, []string) error{
		roleJWX:      serveJWX,
		roleVanguard: serveVanguard,
		roleGRPC:     serveGRPC,
	}
}

//go:embed *.tmpl
var configurations embed.FS

// configure writes a configuration into the row's folder, and returns its path. The name of the
// template is that of the file with the suffix .tmpl.
func configure(e *rows.Env, name string, data any) (path string, err error) {
	text, err := template.ParseFS(configurations, name+".tmpl")
	if err != nil {
		return "", err
	}
	path = filepath.Join(e.Dir, name)
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	return path, text.Execute(file, data)
}

// A hostPort is an address, for templates.
type hostPort struct{ Host, Port string }

func split(address string) (hostPort, error) {
	host, port, err := net.SplitHostPort(address)
	return hostPort{host, port}, err
}

// A front is a login proxy that is to be started: its address, and the provider that it sends
// browsers to.
type front struct {
	address string
	*rows.Provider
}

// origin is where browsers reach the proxy.
func (f *front) origin() string { return "http://" + f.address }

// newFront reserves an address, and starts a provider that redirects to a path there.
func newFront(ctx context.Context, e *rows.Env, callback string) (*front, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	provider, err := e.Provider(ctx, "http://"+address+callback)
	return &front{address, provider}, err
}

// guarded fails if an API behind a proxy answers a request that has no token.
func guarded(ctx context.Context, api string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+api+load.Path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusUnauthorized {
		return fmt.Errorf("the API behind the proxy answers %s to a request without a token, want 401", resp.Status)
	}
	return nil
}

// target signs users in at an address, and returns the target of the proxy.
func (f *front) target(ctx context.Context, e *rows.Env, login string, versions []string, processes ...*proc.Process) (*rows.Target, error) {
	cookies, err := e.SignIn(ctx, f.origin()+login)
	return &rows.Target{Address: f.address, Processes: processes, Credentials: cookies, Versions: versions}, err
}
