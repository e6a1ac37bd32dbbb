package sessiontest

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// AtRest fills an empty store through a Manager, with live, written and ended sessions and with
// notes, and checks a dump of the store's data: it contains no token, claim or cookie value, and
// its IDs open no session, even with the secret.
func AtRest(t *testing.T, store session.Store, dump func(t *testing.T) []byte) {
	t.Helper()
	secret := rand.Text() + rand.Text()
	m := newManager(t, session.ManagerConfig{Store: store, Secrets: []string{secret}})
	if err := m.Join(t.Context()); err != nil { // otherwise route tokens are not stored
		t.Fatal(err)
	}
	var hidden []string
	hide := func(what string) {
		hidden = append(hidden, what, base64.StdEncoding.EncodeToString([]byte(what)),
			base64.RawURLEncoding.EncodeToString([]byte(what)),
			hex.EncodeToString([]byte(what)))
	}
	hide(secret)
	data := func() session.Data {
		d := session.Data{
			Claims: map[string]any{"email": "alice-" + rand.Text() + "@wonderland.example"},
			Tokens: session.Tokens{Access: "access-" + rand.Text(),
				Refresh: "refresh-" + rand.Text(), ID: "id-" + rand.Text()},
			Routes: []session.RouteToken{{Key: "route-" + rand.Text(), Access: "other-" + rand.Text()}},
		}
		hide(d.Routes[0].Key)
		hide(d.Routes[0].Access)
		hide(d.Tokens.Access)
		hide(d.Tokens.Refresh)
		hide(d.Tokens.ID)
		hide(d.Claims["email"].(string))
		return d
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	var cookies []*http.Cookie
	for i := range 20 {
		s, cookie, err := m.Create(t.Context(), session.NewSession{
			Issuer: issuer, Subject: "alice-the-subject", SID: "sid-" + rand.Text(), Data: data(), UserAgent: "Firefox",
		})
		must(err)
		raw, err := base64.RawURLEncoding.DecodeString(cookie.Value)
		must(err)
		hide(cookie.Value)
		hide(string(raw))
		fence, err := m.Lock(t.Context(), s, time.Minute)
		must(err)
		written, err := m.Write(t.Context(), s, fence, data())
		must(err)
		if len(written.Data.Routes) != 1 {
			t.Fatalf("%d route tokens were written, want 1", len(written.Data.Routes))
		}
		if i%2 == 0 {
			must(m.End(t.Context(), s, session.ReasonSignedOut))
		} else {
			cookies = append(cookies, cookie)
		}
		key, value := "key-"+rand.Text(), "pending-"+rand.Text()
		hide(key)
		hide(value)
		must(m.Notes("revocation").Put(t.Context(), key, []byte(value), time.Now().Add(time.Minute),
			time.Now().Add(time.Hour)))
	}
	stolen := dump(t)
	if !bytes.Contains(stolen, []byte("alice-the-subject")) {
		t.Fatalf("the dump of %d bytes lacks the fields outside the seal: it is not of the store",
			len(stolen))
	}
	for i, h := range hidden {
		if bytes.Contains(stolen, []byte(h)) {
			t.Errorf("hidden text %d is in the dump", i)
		}
	}
	// The sessions open with their cookies, and not with the IDs, which the dump contains.
	for _, cookie := range cookies {
		_, err := load(t, m, cookie.Value)
		must(err)
	}
	list, err := m.List(t.Context(), issuer, "alice-the-subject")
	must(err)
	for _, r := range list {
		_, err := load(t, m, base64.RawURLEncoding.EncodeToString(r.ID[:]))
		wantErr(t, "Load with the ID as the cookie", err, session.ErrNotFound)
	}
}
