package introspect_test

import (
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/internal/token/introspect"
)

// A response that is not one of RFC 7662 says nothing about the token, and nothing follows
// it anywhere.
func TestHostileResponses(t *testing.T) {
	t.Parallel()
	good := fmt.Sprintf(`{"active":true,"aud":%q,"sub":"eve"}`, audience)
	for name, c := range map[string]struct {
		instead http.HandlerFunc
		says    string
	}{
		"HTML with 200":        {answer(200, "text/html", "<html>"), "content type"},
		"JSON as text":         {answer(200, "text/plain", good), "content type"},
		"no content type":      {answer(200, "", good), "content type"},
		"signed":               {answer(200, "application/token-introspection+jwt", "e30.e30.e30"), "RFC 9701"},
		"too long":             {answer(200, "application/json", good[:len(good)-1]+`,"x":"`+strings.Repeat("x", 1<<20)+`"}`), "longer than"},
		"endless":              {endless, "longer than"},
		"201":                  {answer(201, "application/json", good), "status 201"},
		"204":                  {answer(204, "application/json", ""), "status 204"},
		"a redirect":           {redirect("https://evil.example/introspect"), "redirects are not followed"},
		"a redirect to http":   {redirect("http://issuer.example/introspect"), "redirects are not followed"},
		"a redirect to itself": {redirect("https://issuer.example/introspect"), "redirects are not followed"},
		"404":                  {answer(404, "text/html", "no"), "status 404"},
		"400":                  {refuse(400, "invalid_request"), "invalid_request"},
		"429":                  {refuse(429, "slow_down"), "slow_down"},
		"500 with a good body": {answer(500, "application/json", good), "status 500"},
		"not active, at all":   {answer(200, "application/json", `{"error":"x"}`), "active is missing"},
		"duplicates":           {answer(200, "application/json", `{"active":false,`+good[1:]), "twice"},
		"a line in the error":  {answer(400, "application/json", `{"error":"x\ny","error_description":"a\nb"}`), "a b"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			s.fail(c.instead)
			err := s.want(t, ada, token.ReasonUnavailable)
			if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q, want %q in one line", err, c.says)
			}
			s.fail(nil)
			s.active(ada, "ada")
			s.want(t, ada, 0) // nothing was kept
		})
	}
}

func endless(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	for range 3 << 20 / 1024 {
		_, _ = w.Write([]byte(strings.Repeat(" ", 1024)))
	}
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusFound) // net/http does not repeat a body
	}
}

// The limit is that of what arrives after decompression, over a real connection.
func TestGzipBomb(t *testing.T) {
	t.Parallel()
	var bomb bytes.Buffer // made before it is asked for, because an answer may take 5 s
	z := gzip.NewWriter(&bomb)
	_, _ = z.Write(make([]byte, 10<<20))
	_ = z.Close()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(bomb.Bytes())
	}))
	t.Cleanup(server.Close)
	s := start(t, func(cfg *introspect.EndpointConfig, _ *introspect.Config[*token.Claims]) {
		cfg.URL, cfg.HTTPClient = server.URL, server.Client()
	})
	if err := s.want(t, ada, token.ReasonUnavailable); err == nil || !strings.Contains(err.Error(), "longer than 1048576 bytes") {
		t.Errorf("error %v", err)
	}
}

// A wrong credential is the operator's fault: callers get 503, the log one line that names
// the setting, and the provider few requests, until the credential is replaced.
func TestWrongCredential(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t, func(cfg *introspect.EndpointConfig, _ *introspect.Config[*token.Claims]) { cfg.Client.Secret = "wrong" })
		s.active(ada, "ada")
		for range 50 {
			s.want(t, ada, token.ReasonUnavailable)
			time.Sleep(time.Second)
		}
		if all, _ := s.requests(); all > 6 {
			t.Errorf("%d requests in 50 s, want at most 6", all)
		}
		if n := strings.Count(s.log.String(), "level=ERROR"); n != 1 || !strings.Contains(s.log.String(), "SETTING Client.Secret") {
			t.Errorf("%d errors in the log, want 1 that names the setting: %s", n, s.log)
		}
		if err := s.endpoint.Ready(); err == nil || !strings.Contains(err.Error(), "SETTING Client.Secret") {
			t.Errorf("Ready() = %v", err)
		}
		for _, text := range []string{s.log.String(), fmt.Sprint(s.endpoint.Ready())} {
			if strings.Contains(text, ada) || strings.Contains(text, "wrong") {
				t.Errorf("token or secret in %s", text)
			}
		}
		if err := s.endpoint.SetCredential(secret, ""); err != nil {
			t.Fatal(err)
		}
		s.want(t, ada, 0)
		if err := s.endpoint.Ready(); err != nil {
			t.Errorf("Ready() = %v after the credential was corrected", err)
		}
	})
}

// A refusal that may be about one token holds back no other.
func TestRefusalOfOneToken(t *testing.T) {
	t.Parallel()
	for _, c := range []http.HandlerFunc{refuse(403, "access_denied"), refuse(400, "invalid_request"), answer(413, "text/plain", "")} {
		s := start(t)
		s.active(ada, "ada")
		s.fail(c)
		s.want(t, "evil", token.ReasonUnavailable)
		s.fail(nil)
		s.want(t, ada, 0)
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.active(ada, "ada")
		s.fail(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "30")
			refuse(429, "slow_down")(w, r)
		})
		s.want(t, ada, token.ReasonUnavailable)
		s.fail(nil)
		time.Sleep(29 * time.Second)
		s.want(t, ada, token.ReasonUnavailable)
		time.Sleep(time.Second)
		s.want(t, ada, 0)
		if all, _ := s.requests(); all != 2 {
			t.Errorf("%d requests, want 2", all)
		}
	})
}

// A provider that limits a flood of invented tokens is still asked about known ones.
func TestFloodIsLimitedByTheProvider(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := start(t)
		s.active(ada, "ada")
		s.want(t, ada, 0)
		time.Sleep(50 * time.Second)
		s.fail(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "60")
			refuse(429, "slow_down")(w, r)
		})
		s.want(t, "evil", token.ReasonUnavailable)
		s.fail(nil)
		time.Sleep(11 * time.Second) // the answer about the known token has ended
		s.want(t, ada, 0)
		s.want(t, "evil", token.ReasonUnavailable) // not asked about
		if all, _ := s.requests(); all != 3 {
			t.Errorf("%d requests, want 3", all)
		}
	})
}

// The client authenticates in the way that fits, and asks as RFC 7662 §2.1 has it.
func TestClientAuthentication(t *testing.T) {
	t.Parallel()
	der, err := x509.MarshalPKCS8PrivateKey(tokentest.NewKey(t, 2048).Private)
	if err != nil {
		t.Fatal(err)
	}
	key := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	for name, c := range map[string]struct {
		client    clientauth.Config
		metadata  map[string]any
		wantForm  map[string]string
		assertion bool
	}{
		"basic":                 {clientauth.Config{ID: client, Secret: secret}, nil, nil, false},
		"post, configured":      {clientauth.Config{ID: client, Secret: secret, Auth: clientauth.Post}, nil, map[string]string{"client_id": client, "client_secret": secret}, false},
		"post, by the endpoint": {clientauth.Config{ID: client, Secret: secret}, map[string]any{"introspection_endpoint_auth_methods_supported": []string{"client_secret_post"}}, map[string]string{"client_secret": secret}, false},
		"post, by the token's":  {clientauth.Config{ID: client, Secret: secret}, map[string]any{"token_endpoint_auth_methods_supported": []string{"client_secret_post"}}, map[string]string{"client_secret": secret}, false},
		"basic, whatever the token's": {clientauth.Config{ID: client, Secret: secret}, map[string]any{
			"token_endpoint_auth_methods_supported": []string{"client_secret_post"}, "introspection_endpoint_auth_methods_supported": []string{"client_secret_basic"}}, nil, false},
		"key": {clientauth.Config{ID: client, Key: key}, nil, map[string]string{"client_id": client}, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, func(cfg *introspect.EndpointConfig, _ *introspect.Config[*token.Claims]) { cfg.Client = c.client })
			for member, value := range c.metadata {
				s.issuer.SetMetadata(member, value)
			}
			if _, err := s.provider.Discover(t.Context()); err != nil {
				t.Fatal(err)
			}
			s.fail(answer(200, "application/json", `{"active":false}`))
			s.want(t, ada, token.ReasonInvalid)
			form := s.last.PostForm
			if s.last.Method != http.MethodPost || form.Get("token") != ada || form.Get("token_type_hint") != "access_token" || s.last.URL.RawQuery != "" {
				t.Errorf("%s %s %v", s.last.Method, s.last.URL, form)
			}
			for name, want := range c.wantForm {
				if form.Get(name) != want {
					t.Errorf("%s=%q, want %q", name, form.Get(name), want)
				}
			}
			_, _, basic := s.last.BasicAuth()
			if basic != (c.wantForm == nil) || form.Has("client_assertion") != c.assertion {
				t.Errorf("basic %t, form %v", basic, form)
			}
		})
	}
}

// Without an endpoint the error names the setting for one.
func TestNoEndpoint(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.issuer.SetMetadata("introspection_endpoint", tokentest.Absent)
	if _, err := s.provider.Discover(t.Context()); err != nil {
		t.Fatal(err)
	}
	err := s.want(t, ada, token.ReasonUnavailable)
	for _, err := range []error{err, s.endpoint.Ready()} {
		if err == nil || !strings.Contains(err.Error(), "set SETTING Endpoint") {
			t.Errorf("error %v", err)
		}
	}
	given := start(t, func(cfg *introspect.EndpointConfig, _ *introspect.Config[*token.Claims]) {
		cfg.URL = "https://elsewhere.example/introspect"
	})
	given.active(ada, "ada")
	given.want(t, ada, 0)
	if given.last.URL.String() != "https://elsewhere.example/introspect" {
		t.Errorf("asked %s", given.last.URL)
	}
}
