package oidc_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// keySet returns a key set document.
func keySet(t testing.TB, keys ...*tokentest.Key) []byte {
	t.Helper()
	set := map[string]any{}
	var list []map[string]any
	for _, k := range keys {
		list = append(list, k.JWK())
	}
	set["keys"] = list
	body, err := json.Marshal(set)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// The API server of Kubernetes: its issuer is a name inside the cluster, and its key set
// needs a bearer token, has a private authority, and is at another address.
func TestKeySetAtAnAddress(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://kubernetes.default.svc.cluster.local")
	ca := certtest.New(t, "cluster")
	pair := ca.Issue(t, "127.0.0.1", "localhost")
	dir := t.TempDir()
	caFile, tokenFile := ca.Write(t, dir, "ca"), filepath.Join(dir, "token")
	writeFile(t, tokenFile, []byte("first\n"))
	var accepted atomic.Pointer[string]
	first, second := "Bearer first", "Bearer second"
	accepted.Store(&first)
	srv := newTLSServer(t, dir, pair, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != *accepted.Load() {
			http.Error(w, "unauthorized", http.StatusUnauthorized)
			return
		}
		if r.URL.Path != "/openid/v1/jwks" {
			t.Errorf("request for %s", r.URL.Path)
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write(keySet(t, issuer.Key()))
	})
	p, err := oidc.NewProvider(oidc.Config{
		Issuer: issuer.URL, JWKSURL: srv + "/openid/v1/jwks", CAFile: caFile, BearerTokenFile: tokenFile,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.HasMetadata() {
		t.Error("HasMetadata() = true")
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	v := newAccess(t, p)
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0)
	check(t, v, issuer.Mint(map[string]any{"aud": audience, "iss": issuer.URL + "/"}), token.ReasonInvalid)

	accepted.Store(&second) // the kubelet renews the token every hour
	if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "status 401") {
		t.Errorf("Refresh with the old token: %v, want status 401", err)
	}
	writeFile(t, tokenFile, []byte("second"))
	if err := p.Refresh(t.Context()); err != nil {
		t.Errorf("Refresh with the new token: %v", err)
	}
	writeFile(t, tokenFile, nil)
	if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "has no token") {
		t.Errorf("Refresh with an empty token file: %v", err)
	}
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0) // with the keys read before

	other := certtest.New(t, "other")
	p, err = oidc.NewProvider(oidc.Config{Issuer: issuer.URL, JWKSURL: srv + "/openid/v1/jwks", CAFile: other.Write(t, dir, "other")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("Refresh with another authority: %v, want an error about the certificate", err)
	}
}

// The bearer token goes to the hosts of the configuration, not to those that metadata or
// a redirect names.
func TestBearerTokenStaysAtItsHost(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	var seen atomic.Bool
	foreign := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		seen.Store(seen.Load() || r.Header.Get("Authorization") != "")
		_, _ = w.Write(keySet(t, issuer.Key()))
	}))
	defer foreign.Close()
	keys := strings.Replace(foreign.URL, "127.0.0.1", "localhost", 1)
	mux := http.NewServeMux()
	own := httptest.NewServer(mux)
	defer own.Close()
	mux.HandleFunc("/.well-known/openid-configuration", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer T" {
			t.Errorf("Authorization of the request for metadata is %q", r.Header.Get("Authorization"))
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"issuer": own.URL, "jwks_uri": keys})
	})
	mux.Handle("/moved", http.RedirectHandler(keys, http.StatusFound))
	mux.Handle("/port", http.RedirectHandler(foreign.URL, http.StatusFound)) // net/http compares names only
	file := filepath.Join(t.TempDir(), "token")
	writeFile(t, file, []byte("T"))
	for _, cfg := range []oidc.Config{
		{Issuer: own.URL, BearerTokenFile: file},
		{Issuer: issuer.URL, JWKSURL: own.URL + "/moved", BearerTokenFile: file},
		{Issuer: issuer.URL, JWKSURL: own.URL + "/port", BearerTokenFile: file},
	} {
		p, err := oidc.NewProvider(cfg)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Refresh(t.Context()); err != nil {
			t.Error(err)
		}
	}
	if seen.Load() {
		t.Error("the token was sent to another host")
	}
}

// A file is read again when it changes. One that cannot be used keeps the keys.
func TestKeySetInAFile(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://ci.example")
	file := filepath.Join(t.TempDir(), "keys.json")
	writeFile(t, file, keySet(t, issuer.Key()))
	var log bytes.Buffer
	now := time.Now()
	p, err := oidc.NewProvider(oidc.Config{
		Issuer: issuer.URL, JWKSFile: file, Logger: slog.New(slog.NewTextHandler(&log, nil)), Now: func() time.Time { return now },
	})
	if err != nil {
		t.Fatal(err)
	}
	v := newAccess(t, p)
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	old := issuer.Mint(map[string]any{"aud": audience})
	check(t, v, old, 0)
	for name, content := range map[string]string{"empty": "", "no keys": `{"keys":[]}`, "no JSON": "rubbish", "too long": strings.Repeat(" ", 1<<20+1)} {
		writeFile(t, file, []byte(content))
		if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: Refresh = %v, want an error with the path", name, err)
		}
		check(t, v, old, 0)
	}
	before := issuer.Key()
	key := issuer.Rotate()
	writeFile(t, file, keySet(t, before, key))
	fresh := issuer.Mint(map[string]any{"aud": audience})
	check(t, v, fresh, 0) // an unknown kid has the file read at once
	writeFile(t, file, keySet(t, key))
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	check(t, v, old, token.ReasonInvalid) // its key has left the set
	check(t, v, fresh, 0)
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("Refresh without the file: %v", err)
	}
	check(t, v, fresh, 0)
	now = now.Add(25 * time.Hour)
	if err := p.Ready(); err == nil {
		t.Error("the keys are used a day after the file was lost")
	}
}

func TestKeySourceConfig(t *testing.T) {
	t.Parallel()
	const issuer = "kubernetes/serviceaccount"
	for _, tt := range []struct {
		name string
		cfg  oidc.Config
		want string // part of the error; "" for none
	}{
		{"text as issuer", oidc.Config{Issuer: issuer, JWKSURL: "https://api.example/openid/v1/jwks"}, ""},
		{"file", oidc.Config{Issuer: issuer, JWKSFile: "keys.json"}, ""},
		{"text as issuer without keys", oidc.Config{Issuer: issuer}, "Issuer"},
		{"issuer with a space", oidc.Config{Issuer: "a b", JWKSFile: "keys.json"}, "Issuer"},
		{"no issuer", oidc.Config{JWKSFile: "keys.json"}, "Issuer"},
		{"http", oidc.Config{Issuer: issuer, JWKSURL: "http://api.example/jwks"}, "JWKSURL"},
		{"password", oidc.Config{Issuer: issuer, JWKSURL: "https://u:p@api.example/jwks"}, "JWKSURL"},
		{"no URL", oidc.Config{Issuer: issuer, JWKSURL: "keys.json"}, "JWKSURL"},
		{"both", oidc.Config{Issuer: issuer, JWKSURL: "https://api.example/jwks", JWKSFile: "keys.json"}, "JWKSFile"},
		{"internal URL", oidc.Config{Issuer: issuer, JWKSFile: "keys.json", InternalURL: "https://api.internal"}, "InternalURL"},
		{"authority of a file", oidc.Config{Issuer: issuer, JWKSFile: "keys.json", CAFile: "ca.pem"}, "CAFile"},
		{"token for a file", oidc.Config{Issuer: issuer, JWKSFile: "keys.json", BearerTokenFile: "token"}, "BearerTokenFile"},
		{"two trusts", oidc.Config{Issuer: "https://id.example", CAFile: "ca.pem", HTTPClient: http.DefaultClient}, "CAFile"},
	} {
		err := tt.cfg.Validate()
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.HasPrefix(err.Error(), tt.want)) {
			t.Errorf("%s: Validate() = %v, want an error about %q", tt.name, err, tt.want)
		}
		if err != nil && strings.Contains(err.Error(), "u:p") {
			t.Errorf("%s: the error has the password: %v", tt.name, err)
		}
	}
	_, err := oidc.NewProvider(oidc.Config{Issuer: "https://id.example", CAFile: filepath.Join(t.TempDir(), "none.pem")})
	if err == nil || !strings.Contains(err.Error(), "CAFile") {
		t.Errorf("NewProvider without the CA file: %v", err)
	}
}

// newTLSServer starts a server with the certificate, and returns its URL.
func newTLSServer(t testing.TB, dir string, pair certtest.Pair, h http.HandlerFunc) string {
	t.Helper()
	certFile, keyFile := pair.Write(t, dir, "server")
	srv := httptest.NewUnstartedServer(h)
	cert, err := loadPair(certFile, keyFile)
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = cert
	srv.StartTLS()
	t.Cleanup(srv.Close)
	return srv.URL
}

func loadPair(certFile, keyFile string) (*tls.Config, error) {
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, err
}
