//go:build linux

package rows

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bench/internal/load"
)

// TestCheck: a row must refuse a request with no credential, and with a forged one.
func TestCheck(t *testing.T) {
	t.Parallel()
	const token, cookies = "Authorization: Bearer aaaa.bbbb.cccc", "Cookie: first=aaaa; second=bbbb"
	for name, c := range map[string]struct {
		row        Row
		credential string
		accepts    func(*http.Request) bool
		want       string
	}{
		"good":     {Row{Credential: Bearer}, token, func(r *http.Request) bool { return r.Header.Get("Authorization") == "Bearer aaaa.bbbb.cccc" }, ""},
		"no check": {Row{Credential: Bearer}, token, func(*http.Request) bool { return true }, "answers 200"},
		"no signature": {Row{Credential: Bearer}, token, func(r *http.Request) bool {
			return strings.HasPrefix(r.Header.Get("Authorization"), "Bearer aaaa.bbbb.")
		}, "forged bearer token"},
		"good cookie":    {Row{Credential: SignedIn}, cookies, func(r *http.Request) bool { return r.Header.Get("Cookie") == "first=aaaa; second=bbbb" }, ""},
		"first cookie":   {Row{Credential: SignedIn}, cookies, func(r *http.Request) bool { return strings.Contains(r.Header.Get("Cookie"), "first=aaaa;") }, ""},
		"any cookie":     {Row{Credential: SignedIn}, cookies, func(r *http.Request) bool { return len(r.Cookies()) > 0 }, "forged session cookie"},
		"without":        {Row{Credential: SignedIn}, "", func(*http.Request) bool { return false }, "no credentials"},
		"none is needed": {Row{Credential: None}, "", func(*http.Request) bool { return true }, ""},
		"open":           {Row{Credential: SignedIn, Open: true}, cookies, func(*http.Request) bool { return true }, ""},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !c.accepts(r) || r.URL.Path != load.Path {
				w.WriteHeader(http.StatusUnauthorized)
			}
		}))
		defer server.Close()
		target := &Target{Address: server.Listener.Addr().String()}
		if c.credential != "" {
			target.Credentials = []string{c.credential}
		}
		err := c.row.Check(t.Context(), target)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// TestSignIn: the cookies of the login itself are not sent later.
func TestSignIn(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	server := httptest.NewServer(mux)
	defer server.Close()
	provider, err := new(Env).Provider(t.Context(), server.URL+"/callback")
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("/login", func(w http.ResponseWriter, r *http.Request) {
		http.SetCookie(w, &http.Cookie{Name: "attempt", Value: "a", Path: "/", MaxAge: 300})
		http.Redirect(w, r, provider.Issuer+"/authorize?response_type=code&scope=openid&state=s&code_challenge_method=S256"+
			"&code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&client_id="+provider.ClientID+"&redirect_uri="+server.URL+"/callback", http.StatusFound)
	})
	mux.HandleFunc("/callback", func(w http.ResponseWriter, r *http.Request) {
		if c, err := r.Cookie("attempt"); err != nil || c.Value != "a" || r.FormValue("code") == "" {
			http.Error(w, "no attempt", http.StatusBadRequest)
			return
		}
		http.SetCookie(w, &http.Cookie{Name: "session", Value: "s", Path: "/", MaxAge: 86400})
		http.SetCookie(w, &http.Cookie{Name: "page", Value: "p", Path: "/page"})
	})
	if got, err := signIn(t.Context(), server.URL+"/login", "seller"); err != nil || got != "Cookie: session=s" {
		t.Errorf("%q, %v; want the session's cookie alone", got, err)
	}
	if _, err := signIn(t.Context(), server.URL+"/callback", "seller"); err == nil || !strings.Contains(err.Error(), "leads to no login page") {
		t.Errorf("without a login page: %v", err)
	}
}
