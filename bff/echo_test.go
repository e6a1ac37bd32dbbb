package bff_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// TestEchoingProvider: a provider's response may repeat the request that it answers, with code,
// verifier, refresh token and client secret. Nothing of that gets into the log, at any level, or onto
// a page.
func TestEchoingProvider(t *testing.T) {
	t.Parallel()
	for name, answer := range map[string]func(w http.ResponseWriter, sent string){
		"in the description": func(w http.ResponseWriter, sent string) {
			reply(w, 400, map[string]string{"error": "invalid_grant", "error_description": "refused: " + sent})
		},
		"in the description of another error": func(w http.ResponseWriter, sent string) {
			reply(w, 401, map[string]string{"error": "invalid_client", "error_description": sent, "error_uri": "https://e.example/?" + sent})
		},
		"as the code":    func(w http.ResponseWriter, sent string) { reply(w, 400, map[string]string{"error": sent}) },
		"on a page":      func(w http.ResponseWriter, sent string) { w.WriteHeader(500); fmt.Fprintf(w, "<h1>%s</h1>", sent) },
		"in broken JSON": func(w http.ResponseWriter, sent string) { fmt.Fprintf(w, `{"access_token": %s`, sent) },
		"as a wrong type": func(w http.ResponseWriter, sent string) {
			reply(w, 200, map[string]any{"access_token": []string{sent}})
		},
		"as a token type": func(w http.ResponseWriter, sent string) {
			reply(w, 200, map[string]any{"access_token": "x", "token_type": sent})
		},
		"as an ID token": func(w http.ResponseWriter, sent string) {
			reply(w, 200, map[string]any{"access_token": "x", "token_type": "Bearer", "id_token": sent})
		},
		"in the lifetime": func(w http.ResponseWriter, sent string) {
			reply(w, 200, map[string]any{"access_token": "x", "token_type": "Bearer", "expires_in": sent})
		},
		"in the redirection": func(w http.ResponseWriter, sent string) {
			w.Header().Set("Location", "https://e.example/?"+sent)
			w.WriteHeader(302)
		},
		"in headers": func(w http.ResponseWriter, sent string) {
			w.Header().Set("WWW-Authenticate", "Bearer error_description="+sent)
			w.Header().Set("Content-Type", sent)
			w.Header().Set("Retry-After", sent)
			w.WriteHeader(503)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &record{secrets: map[string]string{}}
			s := start(t, logsTo(log))
			signedIn := s.browser().signIn()
			var secrets []string
			s.idp.change(func(p *provider) {
				for _, path := range []string{"/token", "/userinfo", "/revoke"} {
					p.instead[path] = func(w http.ResponseWriter, r *http.Request) {
						if err := r.ParseForm(); err != nil {
							t.Error(err)
						}
						var sent []string
						for _, field := range []string{"code", "code_verifier", "refresh_token", "token", "client_secret"} {
							if value := r.PostForm.Get(field); value != "" {
								sent = append(sent, value, url.QueryEscape(value))
							}
						}
						if _, token, _ := strings.Cut(r.Header.Get("Authorization"), " "); token != "" {
							sent = append(sent, token)
						}
						s.idp.mu.Lock()
						secrets = append(secrets, sent...)
						s.idp.mu.Unlock()
						answer(w, strings.Join(sent, " "))
					}
				}
			})
			var pages strings.Builder
			b := s.browser()
			pages.WriteString(b.back(s.idp.authorize(b.navigate("/api/auth/login").location())).body) // the code
			s.clock.Advance(20 * time.Minute)
			pages.WriteString(signedIn.fetch("/api/private-route").body)  // a refresh
			pages.WriteString(signedIn.navigate("/api/auth/logout").body) // a revocation, if the session lives
			s.idp.mu.Lock()
			defer s.idp.mu.Unlock()
			if len(secrets) < 6 {
				t.Fatalf("the provider was sent %d secrets, want those of a login and of a refresh", len(secrets))
			}
			for _, value := range secrets {
				if strings.Contains(log.text(), value) {
					t.Errorf("the log has %q:\n%s", value, log.text())
				}
				if strings.Contains(pages.String(), value) {
					t.Errorf("a page has %q", value)
				}
			}
		})
	}
}

// A provider that fails is not blamed for a wrong answer.
func TestProviderOutagePage(t *testing.T) {
	t.Parallel()
	for status, want := range map[int]string{
		http.StatusInternalServerError: "does not work properly at the moment",
		http.StatusTooManyRequests:     "does not work properly at the moment",
		http.StatusUnauthorized:        "was not accepted",
	} {
		s := start(t)
		s.idp.change(func(p *provider) { p.instead["/token"] = refuse(status, "server_error") })
		b := s.browser()
		res := b.back(s.idp.authorize(b.navigate("/api/auth/login").location()))
		if res.StatusCode != http.StatusBadGateway || !strings.Contains(res.body, want) {
			t.Errorf("token endpoint answers %d: got %d %s, want 502 and %q", status, res.StatusCode, res.body, want)
		}
	}
}
