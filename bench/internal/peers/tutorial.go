//go:build linux

package peers

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// tutorialRow is the stack that docs/from-the-tutorial.md migrates from.
func tutorialRow() rows.Row {
	return rows.Row{
		Name: "tutorial", Title: "Next.js with nextjs-auth0 → Express with express-jwt", Product: "nextjs-auth0 + Express", Credential: rows.SignedIn,
		Caches: "Next.js: nothing, the session is in an encrypted cookie, which each response renews (its default), and each response closes " +
			"the connection, because Next.js asks Express to close its own and passes that header on; Express: the key set (jwks-rsa)",
		Logs: "Next.js: nothing; Express: one line a request (morgan combined)",
		Missing: func(e *rows.Env) string {
			if reason := rows.Need("install Node.js 20 or newer", "node")(e); reason != "" || exists(tutorialCached()) {
				return reason
			}
			return rows.Need("install npm", "npm")(e)
		},
		Start: startTutorial,
	}
}

// tutorialFiles is the application, without its dependencies.
//
//go:embed tutorial/*.js tutorial/*.json tutorial/.npmrc tutorial/app
var tutorialFiles embed.FS

func startTutorial(ctx context.Context, e *rows.Env) (*rows.Target, error) {
	node := e.Find("node")
	dir, err := tutorial(ctx, e)
	if err != nil {
		return nil, err
	}
	versions, err := tutorialVersions(ctx, node, dir)
	if err != nil {
		return nil, err
	}
	f, err := newFront(ctx, e, "/api/auth/callback")
	if err != nil {
		return nil, err
	}
	api, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	env := []string{
		"NODE_ENV=production", "NEXT_TELEMETRY_DISABLED=1",
		"AUTH0_ISSUER_BASE_URL=" + f.Issuer, "AUTH0_AUDIENCE=" + rows.Audience, "AUTH0_BASE_URL=" + f.origin(),
		"AUTH0_CLIENT_ID=" + f.ClientID, "AUTH0_CLIENT_SECRET=" + f.ClientSecret, "AUTH0_SECRET=" + rand.Text() + rand.Text(),
		"AUTH0_SCOPE=openid profile email offline_access", "JWKS_URI=" + f.Issuer + "/keys", "API_URL=http://" + api,
	}
	_, apiPort, err := net.SplitHostPort(api)
	if err != nil {
		return nil, err
	}
	_, webPort, err := net.SplitHostPort(f.address)
	if err != nil {
		return nil, err
	}
	var processes []*proc.Process
	for _, s := range []struct {
		name, address string
		program       []string
	}{
		{"next", f.address, []string{next(dir), "start", dir, "--port", webPort, "--hostname", "127.0.0.1"}},
		{"express", api, []string{filepath.Join(dir, "api.js")}},
	} {
		p, err := e.Launch(ctx, proc.Config{
			Name: s.name, Command: append([]string{node, filepath.Join(dir, "cluster.js")}, s.program...), Env: append(env, "PORT="+apiPort),
		})
		if err != nil {
			return nil, err
		}
		if err := p.Listening(ctx, s.address); err != nil {
			return nil, err
		}
		processes = append(processes, p)
	}
	if err := guarded(ctx, api); err != nil {
		return nil, err
	}
	return f.target(ctx, e, "/api/auth/login", versions, processes...)
}

// tutorialCached returns the folder of the built application, whose name changes with its files.
func tutorialCached() string { return cached(tutorialName()) }

func tutorialName() string {
	sum := sha256.New()
	err := fs.WalkDir(tutorialFiles, "tutorial", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := tutorialFiles.ReadFile(path)
		fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
		return err
	})
	if err != nil {
		panic(err) // the files are in this program
	}
	return fmt.Sprintf("tutorial-%.8x", sum.Sum(nil))
}

// tutorial returns the folder of the application, with its dependencies from npm and built, unless an
// earlier run has done so.
func tutorial(ctx context.Context, e *rows.Env) (dir string, err error) {
	return fetch(e, tutorialName(), "installing the packages of the tutorial's stack with npm, and building it", func(dir string) error {
		files, err := fs.Sub(tutorialFiles, "tutorial")
		if err != nil {
			return err
		}
		if err := os.CopyFS(dir, files); err != nil {
			return err
		}
		t := tool{dir, []string{"NEXT_TELEMETRY_DISABLED=1"}}
		if err := t.run(ctx, e.Find("npm"), "ci", "--no-audit", "--no-fund"); err != nil {
			return err
		}
		return t.run(ctx, e.Find("node"), next(dir), "build")
	})
}

func next(dir string) string { return filepath.Join(dir, "node_modules/next/dist/bin/next") }

// tutorialVersions returns the versions of Node.js and of the packages.
func tutorialVersions(ctx context.Context, node, dir string) ([]string, error) {
	version, err := rows.FirstLine(ctx, node, "--version")
	if err != nil {
		return nil, err
	}
	versions := []string{"Node.js " + version}
	for _, name := range []string{"next", "@auth0/nextjs-auth0", "express", "express-jwt", "jwks-rsa"} {
		content, err := os.ReadFile(filepath.Join(dir, "node_modules", name, "package.json"))
		if err != nil {
			return nil, err
		}
		var manifest struct{ Version string }
		if err := json.Unmarshal(content, &manifest); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		versions = append(versions, name+" "+manifest.Version)
	}
	return versions, nil
}
