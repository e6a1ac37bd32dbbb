package server_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/gatehouse-dev/gatehouse/client"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
	"github.com/gatehouse-dev/gatehouse/server"
)

// Packages client, server and lifecycle work together over TLS with client
// certificates: a program calls a service with a token of its own.
func TestClientOverTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	certificate := func(name string) []tls.Certificate {
		pair := ca.Issue(t, name)
		cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
		if err != nil {
			t.Fatal(err)
		}
		return []tls.Certificate{cert}
	}
	issuer := newIssuer(t)
	srv, err := server.New(newConfig(t, issuer, &probe{unary: func(_ context.Context, text string) (string, error) { return text + "!", nil }}))
	if err != nil {
		t.Fatal(err)
	}
	part := &lifecycle.Part{Name: "server", Address: "127.0.0.1:0", Server: srv, Run: srv.Run, TLS: &tls.Config{
		Certificates: certificate("catalog.internal"), ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.Pool(),
	}}
	cfg := lifecycle.Config{Back: []*lifecycle.Part{part}}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	address := part.Listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- lifecycle.Run(ctx, cfg) }()

	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"access_token": issuer.Mint(map[string]any{"aud": audience}), "token_type": "Bearer", "expires_in": 300,
		})
	}))
	t.Cleanup(endpoint.Close)
	tokens, err := client.NewTokenSource(client.Credentials{TokenURL: endpoint.URL, ClientID: "export", ClientSecret: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	for name, c := range map[string]struct {
		config *tls.Config
		tokens *client.TokenSource
		code   codes.Code
	}{
		"certificate and token": {&tls.Config{RootCAs: ca.Pool(), ServerName: "catalog.internal", Certificates: certificate("export")}, tokens, codes.OK},
		"no token":              {&tls.Config{RootCAs: ca.Pool(), ServerName: "catalog.internal", Certificates: certificate("export")}, nil, codes.Unauthenticated},
		"no certificate":        {&tls.Config{RootCAs: ca.Pool(), ServerName: "catalog.internal"}, tokens, codes.Unavailable},
		"another name":          {&tls.Config{RootCAs: ca.Pool(), Certificates: certificate("export")}, tokens, codes.Unavailable},
	} {
		conn, err := client.New(client.Config{Target: "dns:///localhost:" + port, Tokens: c.tokens, TLS: c.config})
		if err != nil {
			t.Fatal(err)
		}
		got, err := invoke(ctx, conn, echo, "hello")
		if status.Code(err) != c.code || err == nil && got != "hello!" {
			t.Errorf("%s: got %q, %v, want %v", name, got, err, c.code)
		}
		_ = conn.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run returned %v, want nil", err)
	}
}
