package oidc_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

func TestIssuerRefused(t *testing.T) {
	t.Parallel()
	for issuer, want := range map[string]string{
		"":                              "is missing",
		"id.example":                    "the scheme is missing",
		"https://":                      "not a URL",
		"https:id.example":              "not a URL",
		"://":                           "not a URL",
		"http://id.example":             "use https",
		"http://127.0.0.1.evil.example": "use https",
		"http://10.0.0.1":               "use https",
		"ftp://id.example":              "neither https nor http",
		"https://user:pw@id.example":    "user name",
		"https://id.example?x=1":        "query",
		"https://id.example?":           "query",
		"https://id.example#f":          "fragment",
		"https://id.example#":           "fragment",
	} {
		_, err := oidc.NewProvider(oidc.Config{Issuer: issuer})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want an error with %q", issuer, err, want)
		} else if strings.Contains(err.Error(), "pw") {
			t.Errorf("%q: the error contains the password: %v", issuer, err)
		}
	}
	for _, issuer := range []string{"https://id.example", "https://id.example/tenant/", "http://localhost:1", "http://127.0.0.1", "http://[::1]:8"} {
		if _, err := oidc.NewProvider(oidc.Config{Issuer: issuer}); err != nil {
			t.Errorf("%q: %v", issuer, err)
		}
	}
}

func TestIssuerSlash(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		configured, published string
		ok                    bool
	}{
		{"https://id.example", "https://id.example", true},
		{"https://id.example/", "https://id.example", true},
		{"https://id.example", "https://id.example/", true}, // Auth0
		{"https://id.example", "https://id.example//", false},
		{"https://id.example", "https://ID.example", false},
		{"https://id.example", "http://id.example", false},
		{"https://id.example", "https://evil.example", false}, // mix-up: another provider's document
		{"https://id.example", "", false},
	} {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		issuer.SetMetadata("issuer", c.published)
		p, err := oidc.NewProvider(oidc.Config{Issuer: c.configured, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		m, err := p.Discover(t.Context())
		if (err == nil) != c.ok {
			t.Errorf("%q, published %q: %v", c.configured, c.published, err)
		}
		if err != nil {
			if !strings.Contains(err.Error(), fmt.Sprintf("%q", c.configured)) || !strings.Contains(err.Error(), fmt.Sprintf("%q", c.published)) {
				t.Errorf("got %v, want both issuers named", err)
			}
			continue
		}
		if m.Issuer != c.published {
			t.Errorf("issuer %q, want it as published, %q", m.Issuer, c.published)
		}
		// The iss of tokens is the published issuer, byte for byte.
		if err := p.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		v := newAccess(t, p)
		check(t, v, issuer.Mint(map[string]any{"aud": audience, "iss": c.published}), 0)
		if c.configured != c.published {
			check(t, v, issuer.Mint(map[string]any{"aud": audience, "iss": c.configured}), token.ReasonInvalid)
		}
	}
}

func TestMetadata(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t) // over a real connection
	issuer.SetMetadata("authorization_response_iss_parameter_supported", true)
	issuer.SetMetadata("pushed_authorization_request_endpoint", issuer.URL+"/par")
	issuer.SetMetadata("x_unknown", map[string]any{"a": 1})
	p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL + "/"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Metadata(); !errors.Is(err, oidc.ErrUnavailable) {
		t.Errorf("before discovery: %v", err)
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	m, err := p.Metadata()
	if err != nil {
		t.Fatal(err)
	}
	if m.Issuer != issuer.URL || m.TokenEndpoint != issuer.URL+"/token" || m.EndSessionEndpoint != issuer.URL+"/logout" ||
		m.PushedAuthorizationRequestEndpoint != issuer.URL+"/par" || !m.AuthorizationResponseIssParameterSupported ||
		len(m.ScopesSupported) != 4 || m.CodeChallengeMethodsSupported[0] != "S256" {
		t.Errorf("%+v", m)
	}
	check(t, newAccess(t, p), issuer.Mint(map[string]any{"aud": audience}), 0)
}

func TestMetadataRefused(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name  string
		value any
		want  string
	}{
		{"jwks_uri", tokentest.Absent, "jwks_uri is missing"},
		{"jwks_uri", "http://id.example/keys", "use https"},
		{"jwks_uri", "/keys", "absolute"},
		{"jwks_uri", 7, "jwks_uri is a JSON number"},
		{"token_endpoint", "http://id.example/token", "token_endpoint"},
		{"end_session_endpoint", "javascript:alert(1)", "end_session_endpoint"},
		{"issuer", nil, "issuer mismatch"},
	} {
		issuer := tokentest.NewUnserved(t, "https://id.example")
		issuer.SetMetadata(c.name, c.value)
		p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %v: %v, want an error with %q", c.name, c.value, err, c.want)
		}
	}
}

// endless is a body without an end.
type endless struct{}

func (endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	return len(b), nil
}

// stalled is a body that sends nothing until the request is cancelled.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

func answer(status int, contentType string, body io.Reader) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return &http.Response{
			StatusCode: status, Header: http.Header{"Content-Type": {contentType}}, Body: io.NopCloser(body), Request: r,
		}, nil
	}
}

func jsonAnswer(body string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		return answer(200, "application/json", strings.NewReader(body))(r)
	}
}

// misbehaviour lists failures of providers, and of proxies in front of them. Those
// without a text for the metadata are about the key set only.
var misbehaviour = []struct {
	name           string
	respond        func(*http.Request) (*http.Response, error)
	metadata, keys string // in the error of Ready
}{
	{"connection refused", func(*http.Request) (*http.Response, error) { return nil, errors.New("connect: connection refused") }, "connection refused", "connection refused"},
	{"hung", func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, "no response within 5s", "no response within 5s"},
	{"500", answer(500, "text/plain", strings.NewReader("")), "status 500", "status 500"},
	{"304 unasked", answer(304, "", strings.NewReader("")), "status 304", "status 304"},
	{"204", answer(204, "", strings.NewReader("")), "status 204", "status 204"},
	{"HTML with 200", func(r *http.Request) (*http.Response, error) {
		return answer(200, "text/html; charset=utf-8", strings.NewReader("<html>Sign in to the Wi-Fi"))(r)
	}, "text/html, not JSON", "text/html, not JSON"},
	{"redirect to http", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"http://id.example/x"}}, Body: http.NoBody, Request: r}, nil
	}, "redirect from https to http refused", "redirect from https to http refused"},
	{"redirect without end", func(r *http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 302, Header: http.Header{"Location": {"https://id.example/x"}}, Body: http.NoBody, Request: r}, nil
	}, "redirects", "redirects"},
	{"endless body", answer(200, "application/json", endless{}), "longer than", "longer than"},
	{"stalled body", func(r *http.Request) (*http.Response, error) {
		return answer(200, "application/json", stalled{r.Context()})(r)
	}, "no response within 5s", "no response within 5s"},
	{"truncated", jsonAnswer(`{"keys":[{"kty":"RS`), "not a JSON object", "not a key set"},
	{"a list", jsonAnswer(`[]`), "JSON array", "not a key set"},
	{"empty body", jsonAnswer(``), "not a JSON object", "not a key set"},
	{"no keys", jsonAnswer(`{"keys":[]}`), "", "the key set is empty"},
	{"no member keys", jsonAnswer(`{}`), "", "the key set is empty"},
	{"keys null", jsonAnswer(`{"keys":null}`), "", "the key set is empty"},
	{"10,000 keys", jsonAnswer(`{"keys":[` + strings.Repeat(`{},`, 9999) + `{}]}`), "", "10000 keys"},
	{"oct alone (CVE-2016-10555)", jsonAnswer(`{"keys":[{"kty":"oct","k":"AAAA","alg":"HS256"}]}`), "", `kty "oct"`},
	{"unknown kty alone", jsonAnswer(`{"keys":[{"kty":"AKP"},{"kty":"EC","crv":"P-256","x":"AA","y":"AA"},7,null]}`), "", "no usable key"},
}

func TestProviderMisbehaves(t *testing.T) {
	t.Parallel()
	for _, c := range misbehaviour {
		t.Run(c.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				issuer := tokentest.NewUnserved(t, "https://id.example")
				good := issuer.Client().Transport
				var broken atomic.Pointer[string] // the suffix of the addresses that misbehave
				set := func(suffix string) { broken.Store(&suffix) }
				client := &http.Client{Transport: transport(func(r *http.Request) (*http.Response, error) {
					if s := *broken.Load(); s == "all" || strings.HasSuffix(r.URL.Path, s) || strings.HasSuffix(r.URL.Path, "/x") {
						return c.respond(r)
					}
					return good.RoundTrip(r)
				})}
				suffix := "/keys"
				set("/keys")
				if c.metadata != "" {
					set("all")
				}
				p, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: client})
				if err != nil {
					t.Fatal(err)
				}
				v := newAccess(t, p)
				mint := func() string {
					return issuer.Mint(map[string]any{"aud": audience, "exp": time.Now().Add(48 * time.Hour).Unix()})
				}
				run(t, p)
				advance(6 * time.Second)
				wants := func(texts ...string) {
					t.Helper()
					err := p.Ready()
					if !errors.Is(err, oidc.ErrUnavailable) {
						t.Fatalf("Ready: %v", err)
					}
					for _, text := range texts {
						if !strings.Contains(err.Error(), text) || strings.Contains(err.Error(), "\n") {
							t.Errorf("Ready: got %q, want one line with %q", err, text)
						}
					}
				}

				// At start: not ready, 503, no built-in key (CVE-2026-31837).
				if c.metadata != "" {
					wants("no metadata yet", c.metadata, "last tried at 2000-01-01T00:00:0")
					if _, err := p.Metadata(); err == nil || !strings.Contains(err.Error(), c.metadata) {
						t.Errorf("Metadata: %v", err)
					}
					set(suffix)
					advance(10 * time.Second)
				}
				wants("no keys yet", c.keys)
				check(t, v, mint(), token.ReasonUnavailable)

				// It recovers: ready with the next fetch.
				set("none")
				advance(7*time.Second + 100*time.Millisecond) // a request that hangs ends after 5 s, the next one is 2 s later
				if err := p.Ready(); err != nil {
					t.Fatalf("2 s after recovery: %v", err)
				}
				seen := mint()
				check(t, v, seen, 0)

				// It fails again: known keys are used for a day, for cached and new tokens.
				set("all")
				confirmed := p.KeysConfirmed()
				advance(23 * time.Hour)
				check(t, v, seen, 0)
				check(t, v, mint(), 0)
				if !p.KeysConfirmed().Equal(confirmed) {
					t.Errorf("keys confirmed at %v by a failed fetch", p.KeysConfirmed())
				}
				advance(time.Until(confirmed.Add(24*time.Hour - time.Nanosecond)))
				check(t, v, seen, 0)
				advance(time.Nanosecond)
				check(t, v, seen, token.ReasonUnavailable)
				check(t, v, mint(), token.ReasonUnavailable)
				wants("too old")

				set("none")
				advance(5*time.Minute + 7*time.Second)
				check(t, v, seen, 0)
			})
		})
	}
}

func TestUnusableKeysAreSkipped(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	good := issuer.Key()
	as := func(change func(map[string]any)) map[string]any {
		k := good.JWK()
		change(k)
		return k
	}
	set := func(name string, value any) map[string]any {
		return as(func(k map[string]any) { k[name] = value })
	}
	// Each bad key is the good one with another kid and one defect.
	bad := []map[string]any{
		{"kty": "oct", "kid": "oct", "k": "AAAA", "alg": "RS256"},
		{"kty": "AKP", "kid": "unknown type"},
		{},
		set("use", "enc"), set("use", nil), set("alg", "RSA-OAEP"), set("alg", "PS256"), set("alg", "HS256"),
		set("key_ops", []string{"encrypt"}), set("n", "AAAA"), set("n", 7), set("n", "!"), set("e", "AQ"), set("e", "AAAA"),
		set("e", "AQAAAAAAAAAD"), set("e", "Ag"), set("d", "AQAB"), set("kid", strings.Repeat("k", 300)), set("kid", 5), set("kid", ""),
		set("n", strings.Repeat("_", 341)),      // 2047 bits and odd
		set("n", strings.Repeat("_", 8193/6+2)), // too many
		set("n", strings.Repeat("_", 341)+"g"),  // even
	}
	for i, k := range bad {
		if id, ok := k["kid"].(string); ok && id == good.ID {
			k["kid"] = fmt.Sprintf("bad-%d", i)
			if k["use"] == nil {
				delete(k, "kid") // use null counts as absent: the good key without a kid
			}
		}
	}
	issuer.PublishKeys(append(append([]map[string]any{}, bad...), set("x5c", []string{"broken"}))...)
	v := newAccess(t, newProvider(t, issuer, nil))
	mint := func(kid any) string {
		return issuer.Mint(map[string]any{"aud": audience}, map[string]any{"kid": kid})
	}
	check(t, v, mint(good.ID), 0)
	_, before := issuer.Fetches()
	for i := range bad {
		check(t, v, mint(fmt.Sprintf("bad-%d", i)), token.ReasonInvalid)
	}
	if _, after := issuer.Fetches(); after-before > 2 {
		t.Errorf("%d fetches", after-before)
	}
}

func TestSmallKey(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	small := tokentest.NewKey(t, 1024)
	issuer.PublishKeys(small.JWK(), issuer.Key().JWK())
	v := newAccess(t, newProvider(t, issuer, nil))
	check(t, v, issuer.Mint(map[string]any{"aud": audience}), 0)
	check(t, v, small.Sign(fmt.Sprintf(`{"alg":"RS256","kid":%q}`, small.ID), payload(issuer, "")), token.ReasonInvalid)
}

func TestNoKeyID(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	bare := func(claims map[string]any) string {
		return issuer.Mint(claims, map[string]any{"kid": tokentest.Absent})
	}
	claims := map[string]any{"aud": audience}
	encryption := issuer.Key().JWK()
	encryption["use"] = "enc"
	issuer.PublishKeys(encryption, issuer.Key().JWK()) // one usable key
	check(t, newAccess(t, newProvider(t, issuer, nil)), bare(claims), 0)
	issuer.Rotate() // two
	check(t, newAccess(t, newProvider(t, issuer, nil)), bare(claims), token.ReasonInvalid)
	issuer.Retire() // one again, and its JWK has no kid either
	k := issuer.Key().JWK()
	delete(k, "kid")
	issuer.PublishKeys(k)
	check(t, newAccess(t, newProvider(t, issuer, nil)), bare(claims), 0)
}

func TestDuplicateKeyIDs(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	first, second := issuer.Key(), issuer.Rotate()
	a, b := first.JWK(), second.JWK()
	a["kid"], b["kid"] = "same", "same"
	issuer.PublishKeys(a, b, a)
	v := newAccess(t, newProvider(t, issuer, nil))
	header := `{"alg":"RS256","kid":"same"}`
	check(t, v, first.Sign(header, payload(issuer, "")), 0)
	check(t, v, second.Sign(header, payload(issuer, "")), 0)
	check(t, v, tokentest.NewKey(t, 2048).Sign(header, payload(issuer, "")), token.ReasonInvalid)
}

func TestRedirects(t *testing.T) {
	t.Parallel()
	target := tokentest.NewIssuer(t)
	var to string
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, to+r.URL.Path, http.StatusFound)
	}))
	t.Cleanup(front.Close)
	target.SetMetadata("issuer", front.URL)
	p, err := oidc.NewProvider(oidc.Config{Issuer: front.URL})
	if err != nil {
		t.Fatal(err)
	}
	to = target.URL
	if _, err := p.Discover(t.Context()); err != nil {
		t.Errorf("from loopback to loopback: %v", err)
	}
	to = "http://id.example"
	if _, err := p.Discover(t.Context()); err == nil || !strings.Contains(err.Error(), "redirect refused") {
		t.Errorf("to http off loopback: %v", err)
	}
}

// TestRunTakesOver: of two Runs one does the work, and the other takes over when its
// context ends.
func TestRunTakesOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		issuer, rec, p, _ := running(t)
		first, stopFirst := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		q, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: &http.Client{Transport: rec}})
		if err != nil {
			t.Fatal(err)
		}
		before, _ := rec.counts()
		go func() { ended <- q.Run(first) }()
		synctest.Wait()
		run(t, q)
		advance(time.Minute)
		if after, _ := rec.counts(); after != before+1 {
			t.Errorf("%d fetches by two Runs, want 1", after-before)
		}
		stopFirst()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
		advance(5 * time.Minute)
		if after, _ := rec.counts(); after != before+1 {
			t.Errorf("%d fetches before one was due", after-before-1)
		}
		advance(5 * time.Minute)
		if err := p.Ready(); err != nil {
			t.Error(err)
		}
		if age := time.Since(q.KeysConfirmed()); age > 3*time.Minute {
			t.Errorf("keys confirmed %v ago: no Run has taken over", age)
		}
		issuer.Rotate()
		check(t, newAccess(t, q), mintFor(issuer), 0)
	})
}

// TestRunEndsWhileWaiting: a Run that waits for its turn ends with its context.
func TestRunEndsWhileWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		_, _, p, _ := running(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := p.Run(ctx); err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// TestKeysConfirmedDuringLookup confirms the key set between two looks at it. No
// keys and no error would pass for a wrong signature.
func TestKeysConfirmedDuringLookup(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewUnserved(t, "https://id.example")
	var stale atomic.Bool
	p, err := oidc.NewProvider(oidc.Config{Issuer: "https://id.example", HTTPClient: issuer.Client(), Now: func() time.Time {
		if stale.Swap(false) {
			return time.Now().Add(25 * time.Hour)
		}
		return time.Now()
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	stale.Store(true)
	if keys, err := p.KnownKeys(""); len(keys) != 1 || err != nil {
		t.Errorf("got %d keys, %v, want 1", len(keys), err)
	}
}
