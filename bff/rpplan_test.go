package bff_test

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse-dev/gatehouse/bff"
	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// The files rpplan_*_test.go hold one test for each module of the OpenID
// Foundation's test plans for relying parties that use the authorization code
// flow, under the module's public name. What a module makes the provider do is
// told in its words; what it wants of the relying party is checked here, where
// the suite itself leaves it to the reader of a screenshot.
//
// Plans that do not apply: implicit and hybrid (no such response type is ever
// asked for), dynamic registration and WebFinger (one provider is configured),
// third-party-initiated login (its endpoint would let any site start a login
// with parameters of its own), session management (an iframe that browsers
// without third-party cookies have made useless).

// A module is one module of a plan. signIn is a whole login with the provider's
// responses of the plan.
type module struct {
	name string
	run  func(t *testing.T, s *system, signIn signIn)
}

type signIn = func(*browser) *response

// byQuery and byForm are the two response modes.
func byQuery(b *browser) *response {
	b.s.t.Helper()
	return b.back(b.s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location()))
}

func byForm(b *browser) *response {
	b.s.t.Helper()
	return b.posts(b.s.idp.authorize(b.navigate("/api/auth/login?returnTo=/private").location()))
}

// planned starts a system whose provider returns the user's claims at the
// userinfo endpoint alone, as the suite's does.
func planned(t *testing.T, options ...func(*bff.Config)) *system {
	t.Helper()
	s := start(t, options...)
	for _, name := range []string{"name", "email", "picture", "at_hash"} {
		s.idp.id[name] = tokentest.Absent
	}
	return s
}

func run(t *testing.T, modules []module, signIn signIn, options ...func(*bff.Config)) {
	t.Helper()
	for _, m := range modules {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			m.run(t, planned(t, options...), signIn)
		})
	}
}

// accepts checks that a login succeeds.
func accepts(t *testing.T, s *system, signIn signIn) *browser {
	t.Helper()
	b := s.browser()
	res := signIn(b)
	wantStatus(t, res, http.StatusSeeOther)
	if res.location() != "/private" || !b.signedIn() {
		t.Fatalf("not signed in; sent to %q", res.location())
	}
	return b
}

// rejects checks that a login ends without a session, with an explanation, and
// without a use of the tokens.
func rejects(t *testing.T, s *system, signIn signIn) {
	t.Helper()
	b := s.browser()
	res := signIn(b)
	wantStatus(t, res, http.StatusBadGateway)
	if b.session() != "" || b.signedIn() || !strings.Contains(res.body, "could not be completed") {
		t.Errorf("signed in, or not told: %s", res.body)
	}
	if n := len(s.idp.called("/userinfo")); n != 0 {
		t.Errorf("userinfo was asked %d times, for an ID token that is no good", n)
	}
}

// secondKey is another key of the provider.
var secondKey = sync.OnceValue(func() *tokentest.Issuer { return tokentest.NewUnserved(new(testing.B), issuerURL) })

// rotate makes the provider sign with its second key, and publish both.
func (p *provider) rotate() {
	p.change(func(p *provider) {
		p.keys = []any{signer().Key().JWK(), secondKey().Key().JWK()}
		p.signer = secondKey()
	})
}

// nameless is a published key without a kid.
func nameless(i *tokentest.Issuer) map[string]any {
	k := i.Key().JWK()
	delete(k, "kid")
	return k
}
