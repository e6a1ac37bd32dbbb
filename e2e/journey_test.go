package e2e

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// An installation is a running gatehouse, in one process or in several, and its provider.
type installation struct {
	base      string // the bff's address for browsers
	op        *openIDProvider
	processes []*process
	outlets   map[string]func() string // what else operators get, besides the output of the processes
}

// firstTTL is the lifetime of access tokens at the beginning of a journey. It is short, so that a
// test can wait for the expiry.
const firstTTL = 3 * time.Second

// journey is the story of the whole system: a user signs in, calls the API, calls it again after
// the access token has expired, and signs out; then the provider ends a session. It returns the
// visitors.
func journey(t *testing.T, in installation) []*visitor {
	t.Helper()
	alice, elsewhere := newVisitor(t), newVisitor(t)
	signsIn(t, in, alice, "alice")
	callsAPI(t, in, alice)
	outlivesToken(t, in, alice)
	signsOut(t, in, alice)
	endedByProvider(t, in, alice, elsewhere)
	signsOut(t, in, elsewhere)
	nothingReached(t, in, alice)
	nothingReached(t, in, elsewhere)
	return []*visitor{alice, elsewhere}
}

// signsIn opens a protected page, is redirected to the login, and returns to the page.
func signsIn(t *testing.T, in installation, v *visitor, name string) {
	t.Helper()
	v.open(t, in.base+"/").wants(t, http.StatusOK, "text/html")
	v.fetch(t, "/api/auth/me").wants(t, http.StatusNoContent, "")
	refused := v.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	if got := refused.json(t)["code"]; got != float64(16) { // google.rpc.Code UNAUTHENTICATED
		t.Errorf("signed out, the API answered code %v, want 16", got)
	}
	v.open(t, in.base+"/public").wants(t, http.StatusOK, "text/html")

	form := v.open(t, in.base+"/private").wants(t, http.StatusOK, "text/html")
	if !strings.HasPrefix(form.url, in.op.issuer+"/") {
		t.Fatalf("opening /private signed out led to %s, want the provider's sign-in page", form.url)
	}
	landed := v.submit(t, map[string]string{"login": name}).wants(t, http.StatusOK, "text/html")
	if landed.url != in.base+"/private" {
		t.Fatalf("the sign-in led to %s, want %s/private\n%s", landed.url, in.base, landed.body)
	}
}

// callsAPI sends the requests of a signed-in user's page.
func callsAPI(t *testing.T, in installation, v *visitor) {
	t.Helper()
	if got := v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json").json(t); got["message"] != "This is a private route" || len(got) != 1 {
		t.Errorf("/api/private-route: got %v", got)
	}
	if got := v.fetch(t, "/api").wants(t, http.StatusOK, "text/plain").body; got != "Server Running..." {
		t.Errorf("/api: got %q", got)
	}
	claims := v.fetch(t, "/api/auth/me").wants(t, http.StatusOK, "application/json").json(t)
	for name, want := range map[string]any{
		"sub": "alice", "name": "The person alice", "nickname": "alice", "email": "alice@example.com", "email_verified": true,
	} {
		if claims[name] != want {
			t.Errorf("/api/auth/me: %s is %v, want %v", name, claims[name], want)
		}
	}
	for _, name := range []string{"iss", "aud", "nonce", "exp", "at_hash"} {
		if _, has := claims[name]; has {
			t.Errorf("/api/auth/me: has the protocol's claim %s", name)
		}
	}
	for _, path := range []string{"/api/nowhere", "/api/private-route/more", "/api/auth/nowhere"} {
		missing := v.fetch(t, path).wants(t, http.StatusNotFound, "application/json")
		if got := missing.json(t)["code"]; got != float64(5) { // google.rpc.Code NOT_FOUND
			t.Errorf("%s: code %v, want 5", path, got)
		}
	}
	called := v.fetch(t, "/api/private-route")
	id := called.header.Get("X-Request-Id")
	if id == "" {
		t.Fatal("/api/private-route: the answer has no X-Request-Id")
	}
	for _, p := range in.processes { // the same id in all of them
		p.said(t, id)
	}
}

// outlivesToken waits until the access token has expired, and sends requests from eight tabs at
// once: all succeed, with exactly one refresh.
func outlivesToken(t *testing.T, in installation, v *visitor) {
	t.Helper()
	eventually(t, "the access token runs out", func() error {
		tokens := in.op.state(t).of("access_token")
		// One second more: the bff counts from the time of the response.
		if left := time.Until(expiry(t, tokens[len(tokens)-1]).Add(time.Second)); left > 0 {
			return fmt.Errorf("%v left", left)
		}
		return nil
	})
	in.op.setTTL(t, 10*time.Minute) // so that no second refresh falls due
	before := in.op.state(t)
	var tabs sync.WaitGroup
	for range 8 {
		tabs.Go(func() {
			if got := v.fetch(t, "/api/private-route"); got.status != http.StatusOK {
				t.Errorf("after the access token had run out: %d\n%s", got.status, got.body)
			}
		})
	}
	tabs.Wait()
	v.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
	after := in.op.state(t)
	if got := after.Grants["refresh_token"] - before.Grants["refresh_token"]; got != 1 {
		t.Errorf("the provider has refreshed %d times for nine calls, want once", got)
	}
	if len(after.Refused) > 0 {
		t.Errorf("the provider's token endpoint has refused: %v", after.Refused)
	}
	if len(after.Live) != 1 {
		t.Errorf("%d refresh tokens would work, want one for one session", len(after.Live))
	}
}

// signsOut ends the session here and at the provider.
func signsOut(t *testing.T, in installation, v *visitor) {
	t.Helper()
	v.open(t, in.base+"/private").wants(t, http.StatusOK, "text/html")
	before := len(in.op.state(t).Live)
	confirm := v.follow(t, "/api/auth/logout").wants(t, http.StatusOK, "text/html")
	if !strings.HasPrefix(confirm.url, in.op.issuer+"/") {
		t.Fatalf("the logout led to %s, want the provider", confirm.url)
	}
	home := v.submit(t, nil).wants(t, http.StatusOK, "text/html")
	if home.url != in.base+"/" {
		t.Errorf("the logout ended at %s, want %s/", home.url, in.base)
	}
	v.fetch(t, "/api/auth/me").wants(t, http.StatusNoContent, "")
	v.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	// At once when the browser returns, and not after the 30 s for a browser that does not.
	within(t, 10*time.Second+slack, "the refresh token is revoked", func() error {
		if live := len(in.op.state(t).Live); live != before-1 {
			return fmt.Errorf("%d refresh tokens would still work, want one less than %d", live, before)
		}
		return nil
	})
	if asked := v.open(t, in.base+"/private"); !strings.Contains(asked.url, "/interaction/") {
		t.Errorf("after the logout, /private led to %s, want to be asked to sign in", asked.url)
	}
}

// endedByProvider ends alice's session at the provider, as another application may. Within a second
// her session here has ended too, without a request of her browser. Her session in another browser,
// a separate one at the provider, goes on.
func endedByProvider(t *testing.T, in installation, here, elsewhere *visitor) {
	t.Helper()
	signsIn(t, in, here, "alice")
	signsIn(t, in, elsewhere, "alice")
	before := in.op.state(t).Backchannel.Success
	here.open(t, in.op.issuer+"/session/end").wants(t, http.StatusOK, "text/html")
	here.submit(t, nil)
	here.page.url = in.base + "/" // in the tab of the application
	within(t, time.Second+slack, "the session has ended here too", func() error {
		if got := here.fetch(t, "/api/auth/me"); got.status != http.StatusNoContent {
			return httpError(got)
		}
		return nil
	})
	here.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	eventually(t, "the provider has told so", func() error {
		if in.op.state(t).Backchannel.Success == before {
			return errors.New("no back-channel logout has succeeded")
		}
		return nil
	})
	if failed := in.op.state(t).Backchannel.Error; len(failed) > 0 {
		t.Errorf("back-channel logouts failed: %v", failed)
	}
	elsewhere.fetch(t, "/api/auth/me").wants(t, http.StatusOK, "application/json")
	elsewhere.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
}

// httpError is a response as an error.
func httpError(a answer) error {
	return fmt.Errorf("%s %s: %d %s", a.method, a.url, a.status, a.body)
}
