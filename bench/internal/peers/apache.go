//go:build linux

package peers

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

func apacheRow() rows.Row {
	return rows.Row{
		Name: "apache", Title: "Apache with mod_auth_openidc (shm) → grpc-gateway with jwx", Product: "Apache httpd", Credential: rows.SignedIn,
		Caches: "Apache: sessions and their tokens in shared memory; API: " + jwxCaches,
		Logs:   "Apache: one line a request (combined), each written at once; API: " + jwxLogs,
		Missing: func(e *rows.Env) string {
			if e.Find("apache2") == "" || !exists(apacheModules+"/mod_auth_openidc.so") {
				return "Apache or its module was not found: apt-get install apache2 libapache2-mod-auth-openidc"
			}
			return ""
		},
		Start: startApache,
	}
}

// apacheModules is where Debian has them.
const apacheModules = "/usr/lib/apache2/modules"

func startApache(ctx context.Context, e *rows.Env) (*rows.Target, error) {
	f, err := newFront(ctx, e, "/oidc/callback")
	if err != nil {
		return nil, err
	}
	api, apiAddress, err := startAPI(ctx, e, f.Provider)
	if err != nil {
		return nil, err
	}
	cfg, err := configure(e, "apache.conf", map[string]any{
		"Dir": e.Dir, "Modules": apacheModules, "Root": os.Geteuid() == 0, "Listen": f.address, "API": apiAddress,
		"Issuer": f.Issuer, "ClientID": f.ClientID, "ClientSecret": f.ClientSecret, "Passphrase": rand.Text(),
	})
	if err != nil {
		return nil, err
	}
	versions, err := apacheVersions(ctx, e)
	if err != nil {
		return nil, err
	}
	apache, err := e.Launch(ctx, proc.Config{
		Name: "apache", Command: []string{e.Find("apache2"), "-DFOREGROUND", "-f", cfg},
		Logs: []string{filepath.Join(e.Dir, "access.log"), filepath.Join(e.Dir, "error.log")},
	})
	if err != nil {
		return nil, err
	}
	if err := apache.Listening(ctx, f.address); err != nil {
		return nil, err
	}
	return f.target(ctx, e, load.Path, versions, apache, api)
}

var moduleVersion = regexp.MustCompile(`mod_auth_openidc-([0-9.]+)`)

// apacheVersions returns the versions of the server and of the module, which tells it in its log
// messages alone.
func apacheVersions(ctx context.Context, e *rows.Env) ([]string, error) {
	server, err := rows.FirstLine(ctx, e.Find("apache2"), "-v")
	if err != nil {
		return nil, err
	}
	module, err := os.ReadFile(apacheModules + "/mod_auth_openidc.so")
	if err != nil {
		return nil, err
	}
	found := moduleVersion.FindSubmatch(module)
	if found == nil {
		return nil, fmt.Errorf("%s/mod_auth_openidc.so has no version", apacheModules)
	}
	return []string{strings.TrimPrefix(server, "Server version: "), "mod_auth_openidc " + string(found[1])}, nil
}
