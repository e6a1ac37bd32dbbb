//go:build linux

package peers

import (
	"context"
	"crypto/rand"
	"debug/buildinfo"
	"path/filepath"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// oauth2-proxy is built from its module, since its releases are in no package registry.
const oauth2ProxyModule, oauth2ProxyVersion = "github.com/oauth2-proxy/oauth2-proxy/v7", "v7.15.6"

func oauth2ProxyRow() rows.Row {
	return rows.Row{
		Name: "oauth2-proxy", Title: "oauth2-proxy (cookie store) → grpc-gateway with jwx", Product: "oauth2-proxy", Credential: rows.SignedIn,
		Caches: "oauth2-proxy: nothing, the session is in encrypted cookies; API: " + jwxCaches,
		Logs:   "oauth2-proxy: one line a request, in its default format, each written at once, without metrics (its default); API: " + jwxLogs,
		Missing: func(e *rows.Env) string {
			if e.Find("oauth2-proxy") == "" && !exists(oauth2ProxyCached()) && e.Find("go") == "" {
				return "neither oauth2-proxy nor go, which builds it, is in PATH: install one, or name it with -with oauth2-proxy=PATH"
			}
			return ""
		},
		Start: startOAuth2Proxy,
	}
}

// startOAuth2Proxy starts the proxy with the access token in X-Forwarded-Access-Token: in
// Authorization it would send the ID token.
func startOAuth2Proxy(ctx context.Context, e *rows.Env) (*rows.Target, error) {
	program, err := oauth2ProxyProgram(ctx, e)
	if err != nil {
		return nil, err
	}
	build, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, err
	}
	f, err := newFront(ctx, e, "/oauth2/callback")
	if err != nil {
		return nil, err
	}
	api, apiAddress, err := startAPI(ctx, e, f.Provider, "X-Forwarded-Access-Token")
	if err != nil {
		return nil, err
	}
	proxy, err := e.Launch(ctx, proc.Config{Name: "oauth2-proxy", Command: []string{
		program, "--http-address=" + f.address, "--upstream=http://" + apiAddress,
		"--provider=oidc", "--oidc-issuer-url=" + f.Issuer, "--client-id=" + f.ClientID, "--client-secret=" + f.ClientSecret,
		"--redirect-url=" + f.origin() + "/oauth2/callback", "--scope=openid profile email offline_access", "--code-challenge-method=S256",
		"--cookie-secret=" + rand.Text() + rand.Text()[:6], "--cookie-secure=false", // 32 bytes; http
		"--cookie-refresh=1h", // of a token that is valid for longer than a run
		"--email-domain=*", "--skip-provider-button", "--api-route=^/api/",
		"--pass-access-token", "--pass-basic-auth=false",
	}})
	if err != nil {
		return nil, err
	}
	if err := proxy.Ready(ctx, f.origin()+"/ping"); err != nil {
		return nil, err
	}
	return f.target(ctx, e, "/oauth2/start?rd=%2F", []string{"oauth2-proxy " + build.Main.Version}, proxy, api)
}

// oauth2ProxyProgram returns the path of oauth2-proxy, which it builds unless there is one.
func oauth2ProxyProgram(ctx context.Context, e *rows.Env) (string, error) {
	if path := e.Find("oauth2-proxy"); path != "" {
		return path, nil
	}
	dir, err := fetch(e, filepath.Base(oauth2ProxyCached()), "building oauth2-proxy "+oauth2ProxyVersion, func(dir string) error {
		return tool{dir, []string{"GOBIN=" + dir, "GOFLAGS="}}.run(ctx, e.Find("go"), "install", oauth2ProxyModule+"@"+oauth2ProxyVersion)
	})
	return filepath.Join(dir, "oauth2-proxy"), err
}

func oauth2ProxyCached() string { return cached("oauth2-proxy-" + oauth2ProxyVersion) }
