package devidp_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

var (
	inlineStyle  = regexp.MustCompile(`(?i)<style|\sstyle=`)
	inlineScript = regexp.MustCompile(`(?i)<script[^>]*>[^<]|<script(?:[^>]*[^c]=|>)|\son[a-z]+=|javascript:`)
	assetLinks   = regexp.MustCompile(`(?:href|src)="(/assets/[^"]+)"`)
)

// TestPages: each page is complete, has a strict content security policy, is not
// cached, and loads nothing from other origins.
func TestPages(t *testing.T) {
	t.Parallel()
	s := start(t)
	b := s.browser()
	s.signIn(b, "admin")
	tests := map[string]struct {
		address    string
		status     int
		says       string
		formAction string
	}{
		"home":    {s.issuer + "/", http.StatusOK, "signed in as <strong>Ada Lindholm", "form-action 'self'"},
		"sign-in": {s.attempt(s.oauth(), "prompt", "login").url, http.StatusOK, "For development only", "form-action 'self' http://localhost:3000"},
		"sign-out": {s.endSession("client_id", clientID, "post_logout_redirect_uri", afterwards), http.StatusOK, "Sign out?",
			"form-action 'self' http://localhost:3000"},
		"refusal":   {s.issuer + "/authorize", http.StatusBadRequest, "client_id", "form-action 'self'"},
		"not found": {s.issuer + "/nowhere", http.StatusNotFound, "no such page", "form-action 'self'"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := b.open(tt.address)
			if got.status != tt.status || !strings.Contains(got.body, tt.says) {
				t.Fatalf("%d, want %d and %q:\n%s", got.status, tt.status, tt.says, got.body)
			}
			want := "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; frame-ancestors 'none'; " + tt.formAction
			if csp := got.header.Get("Content-Security-Policy"); csp != want {
				t.Errorf("policy %q, want %q", csp, want)
			}
			if h := got.header; h.Get("Cache-Control") != "no-store" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Content-Type") != "text/html; charset=utf-8" {
				t.Errorf("header %v", h)
			}
			if inlineStyle.MatchString(got.body) || inlineScript.MatchString(got.body) {
				t.Error("inline style or script")
			}
			for _, part := range []string{`<html lang="en">`, `<meta name="viewport"`, "<main>", "<h1>", "Development provider"} {
				if strings.Count(got.body, part) != 1 && part != "Development provider" || !strings.Contains(got.body, part) {
					t.Errorf("%s is missing or repeated", part)
				}
			}
			for _, m := range assetLinks.FindAllStringSubmatch(got.body, -1) {
				if asset := b.open(s.issuer + m[1]); asset.status != http.StatusOK || asset.body == "" {
					t.Errorf("%s: %d", m[1], asset.status)
				}
			}
		})
	}
}

// TestSignInPageIsAccessible: the name of each button is its visible text (WCAG
// 2.5.3), in the order of the users.
func TestSignInPageIsAccessible(t *testing.T) {
	t.Parallel()
	s := start(t)
	body := s.browser().open(s.attempt(s.oauth()).url).body
	buttons := regexp.MustCompile(`<button class="person"[^>]*value="(\w+)"([^>]*)>`).FindAllStringSubmatch(body, -1)
	if len(buttons) != 3 {
		t.Fatalf("%d buttons", len(buttons))
	}
	for i, key := range []string{"seller", "buyer", "admin"} {
		if buttons[i][1] != key {
			t.Errorf("button %d is %s", i, buttons[i][1])
		}
		if strings.Contains(buttons[i][0], "aria-label") {
			t.Errorf("%s has another name than what it shows: %s", key, buttons[i][0])
		}
	}
}
