package client_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/oauth2"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/client"
)

const clientSecret = "a secret: with %41 & colon"

// provider is a token endpoint. As an http.RoundTripper it answers without a network, as a
// synctest bubble requires.
type provider struct {
	mu      sync.Mutex
	asked   []url.Values
	basic   []string // user and password of Authorization
	answers []answer // the last one repeats
	takes   time.Duration
}

type answer struct {
	status int
	body   string
}

func token(name, more string) answer {
	return answer{200, `{"access_token":"` + name + `","token_type":"Bearer"` + more + `}`}
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	user, password, _ := r.BasicAuth()
	p.mu.Lock()
	p.asked = append(p.asked, r.PostForm)
	p.basic = append(p.basic, user+" "+password)
	next := p.answers[0]
	if len(p.answers) > 1 {
		p.answers = p.answers[1:]
	}
	p.mu.Unlock()
	time.Sleep(p.takes) // only in a bubble
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Location", "https://evil.example/")
	w.WriteHeader(next.status)
	_, _ = w.Write([]byte(next.body))
}

func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	p.ServeHTTP(w, r)
	return w.Result(), r.Context().Err()
}

func (p *provider) requests() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.asked)
}

func (p *provider) credentials() client.Credentials {
	return client.Credentials{
		TokenURL: "https://login.example/token", ClientID: "robot", ClientSecret: clientSecret,
		HTTPClient: &http.Client{Transport: p, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

func source(t *testing.T, c client.Credentials) *client.TokenSource {
	t.Helper()
	s, err := client.NewTokenSource(c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// gives fails the test unless the source returns the token want after exactly the duration.
func gives(t *testing.T, s *client.TokenSource, want string, after time.Duration) {
	t.Helper()
	begin := time.Now()
	got, err := s.Token(t.Context())
	if err != nil || got.AccessToken != want || time.Since(begin) != after {
		t.Errorf("got %v, %v after %v; want %s after %v", got, err, time.Since(begin), want, after)
	}
}

// TestRenewal: concurrent callers share one request, and the token is renewed in the background
// before it expires.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lifetime string
		early    time.Duration // when the next one is requested
	}{
		"an hour":     {`,"expires_in":3600`, 59 * time.Minute},
		"a minute":    {`,"expires_in":60`, 30 * time.Second},
		"no lifetime": {"", 4 * time.Minute},
		"two hours":   {`,"expires_in":"7200"`, 119 * time.Minute}, // some providers write a string
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				p := &provider{answers: []answer{token("first", c.lifetime), token("second", c.lifetime)}, takes: time.Second}
				s := source(t, p.credentials())
				var all sync.WaitGroup
				for range 100 {
					all.Go(func() { gives(t, s, "first", time.Second) })
				}
				all.Wait()
				time.Sleep(c.early - 2*time.Second)
				gives(t, s, "first", 0)
				synctest.Wait()
				if n := p.requests(); n != 1 {
					t.Fatalf("%d requests before it is due", n)
				}
				time.Sleep(time.Second)
				for range 10 {
					gives(t, s, "first", 0) // without waiting
				}
				time.Sleep(time.Second)
				synctest.Wait()
				gives(t, s, "second", 0)
				if n := p.requests(); n != 2 {
					t.Errorf("%d requests, want 2", n)
				}
			})
		})
	}
}

// TestProviderFails: a valid token is returned while its renewal fails; without one each caller gets
// the error. There is one request a second.
func TestProviderFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		p := &provider{answers: []answer{token("first", `,"expires_in":120`), {503, `{"error":"temporarily_unavailable","access_token":"` + clientSecret + `"}`}}}
		c := p.credentials()
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
		s := source(t, c)
		gives(t, s, "first", 0)
		for range 59 * 4 { // from half its lifetime on, four calls a second
			time.Sleep(250 * time.Millisecond)
			gives(t, s, "first", 0)
		}
		time.Sleep(time.Second) // 60 s: due
		before := p.requests()
		for range 10 * 4 {
			gives(t, s, "first", 0)
			synctest.Wait()
			time.Sleep(250 * time.Millisecond)
		}
		if n := p.requests() - before; n < 9 || n > 11 {
			t.Errorf("%d requests in 10 s of failures", n)
		}
		time.Sleep(time.Minute) // the token has expired
		before = p.requests()
		for range 10 {
			_, err := s.Token(t.Context())
			if refused, ok := errors.AsType[*oauth2.RetrieveError](err); !ok || refused.Response.StatusCode != 503 {
				t.Fatalf("got %v", err)
			}
		}
		if n := p.requests() - before; n != 1 {
			t.Errorf("%d requests at once", n)
		}
		p.mu.Lock()
		p.answers = []answer{token("second", "")}
		p.mu.Unlock()
		time.Sleep(time.Second)
		gives(t, s, "second", 0)
		if strings.Contains(log.String(), clientSecret) || strings.Contains(log.String(), "first") || !strings.Contains(log.String(), "temporarily_unavailable (503") {
			t.Errorf("logged %s", &log)
		}
	})
}

// TestCanceledCaller: a caller whose context ends stops waiting, and other callers still get the
// token of the same request.
func TestCanceledCaller(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &provider{answers: []answer{token("first", "")}, takes: 3 * time.Second}
		s := source(t, p.credentials())
		var all sync.WaitGroup
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			begin := time.Now()
			if _, err := s.Token(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begin) != time.Second {
				t.Errorf("%v after %v", err, time.Since(begin))
			}
		})
		all.Go(func() { gives(t, s, "first", 3*time.Second) })
		all.Wait()
		if n := p.requests(); n != 1 {
			t.Errorf("%d requests", n)
		}
	})
}

// TestRequest: the parameters and the authentication of the token request.
func TestRequest(t *testing.T) {
	t.Parallel()
	p := &provider{answers: []answer{token("t", "")}}
	server := httptest.NewServer(p)
	t.Cleanup(server.Close)
	// RFC 6749 §2.3.1: both are form-encoded.
	basic := "robot " + url.QueryEscape(clientSecret)
	for _, c := range []struct {
		name   string
		change func(*client.Credentials)
		basic  string
		want   url.Values
	}{
		{"least", func(*client.Credentials) {}, basic, url.Values{"grant_type": {"client_credentials"}}},
		{"most", func(c *client.Credentials) {
			c.Scopes, c.Audience, c.Resource = []string{"a", "b"}, "https://api.example", "https://api.example/"
		}, basic, url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "audience": {"https://api.example"}, "resource": {"https://api.example/"}}},
		{"in the form", func(c *client.Credentials) { c.ClientAuth = "client_secret_post" }, " ",
			url.Values{"grant_type": {"client_credentials"}, "client_id": {"robot"}, "client_secret": {clientSecret}}},
	} {
		credentials := client.Credentials{TokenURL: server.URL, ClientID: "robot", ClientSecret: clientSecret}
		c.change(&credentials)
		if _, err := source(t, credentials).Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, p.asked[len(p.asked)-1]); diff != "" || p.basic[len(p.basic)-1] != c.basic {
			t.Errorf("%s: %q, the form differs (-want +got):\n%s", c.name, p.basic[len(p.basic)-1], diff)
		}
	}
	// A redirect would send the secret to another server (RFC 9700 §4.12). None is followed, also
	// with a client of the caller's.
	other := &provider{answers: []answer{token("t", "")}}
	elsewhere := httptest.NewServer(other)
	t.Cleanup(elsewhere.Close)
	redirects := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(redirects.Close)
	for _, own := range []*http.Client{nil, {Transport: &http.Transport{}}} {
		s := source(t, client.Credentials{TokenURL: redirects.URL, ClientID: "robot", ClientSecret: clientSecret, ClientAuth: "client_secret_post", HTTPClient: own})
		if _, err := s.Token(t.Context()); err == nil || strings.Contains(err.Error(), clientSecret) || len(other.asked) > 0 {
			t.Errorf("a redirect: %v, %d requests elsewhere", err, len(other.asked))
		}
		if own != nil && own.CheckRedirect != nil {
			t.Error("the caller's client was changed")
		}
	}
}

func TestCredentialsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(*client.Credentials)
		want   string
	}{
		"no address":     {func(c *client.Credentials) { c.TokenURL = "" }, "TokenURL is missing"},
		"no URL":         {func(c *client.Credentials) { c.TokenURL = "login.example/token" }, "TokenURL"},
		"another scheme": {func(c *client.Credentials) { c.TokenURL = "ftp://login.example" }, "TokenURL"},
		"a password in the URL": {func(c *client.Credentials) {
			c.TokenURL = "https://a:" + url.PathEscape(clientSecret) + "@login.example"
		}, "TokenURL"},
		"in the clear":   {func(c *client.Credentials) { c.TokenURL = "http://login.example/token" }, "in the clear"},
		"no client":      {func(c *client.Credentials) { c.ClientID = "" }, "ClientID"},
		"no secret":      {func(c *client.Credentials) { c.ClientSecret = "" }, "ClientSecret"},
		"unknown method": {func(c *client.Credentials) { c.ClientAuth = "auto" }, `ClientAuth "auto"`},
	} {
		credentials := client.Credentials{TokenURL: "https://login.example/token", ClientID: "robot", ClientSecret: clientSecret}
		c.change(&credentials)
		if _, err := client.NewTokenSource(credentials); err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "with") && strings.Contains(err.Error(), "%41") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
}
