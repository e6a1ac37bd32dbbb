package session_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

func TestCookie(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change []func(*session.ManagerConfig)
		want   http.Cookie
	}{
		{"https", []func(*session.ManagerConfig){baseURL(t, "https://app.example")},
			http.Cookie{Name: "__Host-gatehouse", Secure: true}},
		{"no base URL", nil,
			http.Cookie{Name: "__Host-gatehouse", Secure: true}},
		{"http", []func(*session.ManagerConfig){baseURL(t, "http://localhost:3000")},
			http.Cookie{Name: "gatehouse"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			f := newFixture(t, c.change...)
			_, set := f.login(t)
			for what, got := range map[string]*http.Cookie{"set": set, "clear": f.ClearCookie()} {
				if got.Name != c.want.Name || got.Secure != c.want.Secure || !got.HttpOnly ||
					got.SameSite != http.SameSiteLaxMode || got.Path != "/" || got.Domain != "" || got.Partitioned {
					t.Errorf("%s: %v", what, got)
				}
				if err := got.Valid(); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			}
			if set.MaxAge != int(7*24*time.Hour/time.Second) {
				t.Errorf("Max-Age = %d, want the absolute timeout", set.MaxAge)
			}
			if b, err := base64.RawURLEncoding.DecodeString(set.Value); err != nil || len(b) != 32 {
				t.Errorf("the value is %d bytes, %v, want 32", len(b), err)
			}
			if cleared := f.ClearCookie(); cleared.MaxAge >= 0 || cleared.Value != "" {
				t.Errorf("ClearCookie = %v", cleared)
			}
			if f.CookieName() != c.want.Name {
				t.Errorf("CookieName = %q", f.CookieName())
			}
			f.load(t, set)
		})
	}
}

func TestStoreKeyIsAHash(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s, cookie := f.login(t)
	b, err := base64.RawURLEncoding.DecodeString(cookie.Value)
	if err != nil {
		t.Fatal(err)
	}
	if s.ID != sha256.Sum256(b) {
		t.Error("the ID is not the SHA-256 of the cookie value")
	}
	handle := s.ID.String()
	if len(handle) != 16 || strings.Contains(cookie.Value, handle) {
		t.Errorf("the handle is %q", handle)
	}
}

// A value has one encoding. Any other is no session, and no outage.
func TestCookieIsParsedStrictly(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, cookie := f.login(t)
	good := cookie.Value
	last := strings.IndexByte(alphabet, good[42])
	for name, value := range map[string]string{
		"empty":                    "",
		"one short":                good[:42],
		"one long":                 good + "A",
		"padded":                   good + "=",
		"padded within the length": good[:42] + "=",
		"trailing bits set":        good[:42] + alphabet[last|1:last|1+1],
		"standard alphabet":        "+" + good[1:],
		"standard alphabet, slash": "/" + good[1:],
		"a dot":                    good[:20] + "." + good[21:],
		"quoted":                   `"` + good + `"`,
		"percent":                  "%41" + good[3:],
		"hexadecimal":              strings.Repeat("0f", 32),
		"43 of something else":     strings.Repeat("!", 43),
		"well-formed, never given": base64.RawURLEncoding.EncodeToString(make([]byte, 32)),
		"a cookie bomb":            strings.Repeat("A", 7000),
		"the handle":               f.load(t, cookie).ID.String(),
		"the store's key":          base64.RawURLEncoding.EncodeToString(idBytes(f.load(t, cookie))),
		"in lower case":            strings.ToLower(good),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("Cookie", cookie.Name+"="+value)
			if s, err := f.Load(t.Context(), r); !errors.Is(err, session.ErrNotFound) {
				t.Errorf("Load = %v, %v, want ErrNotFound", s, err)
			}
			if v := f.CookieValue(r); v != "" && v != value {
				t.Errorf("CookieValue = %d characters", len(v))
			}
		})
	}
	f.load(t, cookie)
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"

func idBytes(s *session.Session) []byte { return s.ID[:] }

// A sibling subdomain can set a second cookie ("cookie tossing"), with a path that puts it first.
// To use either could sign the browser in as the attacker.
func TestTwoCookies(t *testing.T) {
	t.Parallel()
	f := newFixture(t, baseURL(t, "http://localhost:3000"))
	_, alice := f.login(t)
	_, mallory := f.login(t, func(n *session.NewSession) { n.Subject = "mallory" })
	junk := &http.Cookie{Name: alice.Name, Value: "junk"}
	for name, c := range map[string]struct {
		cookies []*http.Cookie
		want    string
	}{
		"the planted one in front":     {[]*http.Cookie{mallory, alice}, ""},
		"the planted one behind":       {[]*http.Cookie{alice, mallory}, ""},
		"junk in front":                {[]*http.Cookie{junk, alice}, ""},
		"junk behind":                  {[]*http.Cookie{alice, junk}, ""},
		"two of the same, and another": {[]*http.Cookie{alice, alice, mallory}, ""},
		"the same twice":               {[]*http.Cookie{alice, alice}, subject},
		"among cookies of others":      {[]*http.Cookie{{Name: "theme", Value: "dark"}, alice, {Name: "gatehouse2", Value: "x"}}, subject},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := ""
			s, err := f.Load(t.Context(), request(c.cookies...))
			if err == nil {
				got = s.Subject
			} else if !errors.Is(err, session.ErrNotFound) {
				t.Fatal(err)
			}
			if got != c.want {
				t.Errorf("signed in as %q, want %q", got, c.want)
			}
			if v := f.CookieValue(request(c.cookies...)); (v != "") != (c.want != "") {
				t.Errorf("CookieValue gave a value: %t", v != "")
			}
		})
	}
}

// Over https only the prefixed cookie is used: a sibling subdomain, or http, can set the other.
// Servers that trim Unicode spaces from cookie names have accepted "\u2000__Host-…", which browsers
// do not protect.
func TestOnlyTheExactNameCounts(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	_, cookie := f.login(t)
	for _, name := range []string{"gatehouse", "__host-gatehouse", "__Host-Gatehouse", "__Secure-gatehouse", "\u2000__Host-gatehouse",
		"\u00a0__Host-gatehouse", "__Host-gatehouse\u2000", "$Version=1; gatehouse", "__Host-gatehouse[]"} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("Cookie", name+"="+cookie.Value)
		if _, err := f.Load(t.Context(), r); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("%q was read as our cookie: %v", name, err)
		}
	}
}

// Session fixation: a value from the browser never becomes a session, neither by a request nor by a
// login.
func TestFixation(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	planted := &http.Cookie{Name: session.SecureCookieName, Value: base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat("m", 32)))}
	f.signedOut(t, planted)
	_, cookie := f.login(t, func(n *session.NewSession) { n.Replaces = f.CookieValue(request(planted)) })
	if cookie.Value == planted.Value {
		t.Fatal("the login adopted the planted value")
	}
	f.signedOut(t, planted)
	f.load(t, cookie)

	// The same with the value of a session: the login gets another, and the old one ends.
	_, next := f.login(t, func(n *session.NewSession) { n.Replaces = f.CookieValue(request(cookie)) })
	if next.Value == cookie.Value {
		t.Fatal("the login kept the old value")
	}
	f.signedOut(t, cookie)
	f.load(t, next)
}

// The cookie is found where net/http finds it.
func FuzzCookie(f *testing.F) {
	fx := newFixture(f)
	_, cookie := fx.login(f)
	own := cookie.Name + "=" + cookie.Value
	for _, line := range []string{
		"", own, own + "=", own + "; " + own, own + "; " + cookie.Name + "=x", cookie.Name + "=" + strings.Repeat("A", 43),
		cookie.Name + "=\x00;=\"", ";\t" + cookie.Name + " =" + cookie.Value + "\t;", cookie.Name + "= " + cookie.Value,
		cookie.Name + `="` + cookie.Value + `"`, own + "; " + cookie.Name + `="` + cookie.Value + `"`, own + "; " + cookie.Name + `=a"b`,
		own + "; " + cookie.Name + `=a\b`, own + "; " + cookie.Name + "=a\x7f", own + "; " + cookie.Name, own + `; ` + cookie.Name + `="`,
	} {
		f.Add(line, "a=b")
		f.Add(own, line)
	}
	f.Fuzz(func(t *testing.T, first, second string) {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header["Cookie"] = []string{first, second}
		if strings.Count(first+second, ";") > 1000 {
			return // net/http returns no cookies where there are more than 3000
		}
		_, err := fx.Load(context.Background(), r)
		if err != nil && !errors.Is(err, session.ErrNotFound) {
			t.Fatalf("a cookie made an outage: %v", err)
		}
		// One is used only if all cookies of the name have its value.
		cookies := r.CookiesNamed(cookie.Name)
		want := len(cookies) > 0 && !slices.ContainsFunc(cookies, func(c *http.Cookie) bool { return c.Value != cookie.Value || c.Quoted })
		if got := err == nil; got != want {
			t.Fatalf("%q, %q: found %t, want %t", first, second, got, want)
		}
	})
}
