package e2e

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// An operator lists and ends sessions through the same REST facade and policy as every other call;
// other users may not.
func TestOperatorEndsSessions(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	enters := func(user string) *visitor { return entersAs(t, s.base, user) }
	operator, laptop, phone := enters("admin"), enters("buyer"), enters("buyer")

	list := func(v *visitor, query string) answer { return v.fetch(t, "/api/admin/sessions"+query) }
	ofBuyer := "?" + url.Values{"subject": {"dev|buyer"}}.Encode()
	list(laptop, ofBuyer).wants(t, http.StatusForbidden, "application/json")
	list(newVisitorAt(t, s.base), "").wants(t, http.StatusUnauthorized, "application/json")

	all := list(operator, "").wants(t, http.StatusOK, "application/json")
	if got := len(sessionsIn(t, all)); got != 3 {
		t.Fatalf("the operator sees %d sessions, want 3: %s", got, all.body)
	}
	sessions := sessionsIn(t, list(operator, ofBuyer).wants(t, http.StatusOK, "application/json"))
	if len(sessions) != 2 || sessions[0]["subject"] != "dev|buyer" || !strings.Contains(sessions[0]["userAgent"].(string), "Chrome") {
		t.Fatalf("the buyer's sessions are %v", sessions)
	}

	// The newest comes first: the phone's.
	end := func(v *visitor, name any) answer {
		return v.send(t, http.MethodDelete, s.base+"/api/admin/"+name.(string), http.Header{
			"Sec-Fetch-Site": {"same-origin"}, "Sec-Fetch-Mode": {"cors"}, "Sec-Fetch-Dest": {"empty"}, "Origin": {s.base},
		}, nil)
	}
	end(laptop, sessions[0]["name"]).wants(t, http.StatusForbidden, "application/json")
	end(operator, sessions[0]["name"]).wants(t, http.StatusOK, "application/json")
	end(operator, sessions[0]["name"]).wants(t, http.StatusNotFound, "application/json")
	phone.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	phone.fetch(t, "/api/auth/me").wants(t, http.StatusNoContent, "")
	laptop.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")

	ended := operator.send(t, http.MethodPost, s.base+"/api/admin/sessions:end", http.Header{
		"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Origin": {s.base},
	}, strings.NewReader(`{"subject":"dev|buyer"}`)).wants(t, http.StatusOK, "application/json")
	if got := ended.json(t)["ended"]; got != float64(1) {
		t.Errorf("ended %v sessions, want 1", got)
	}
	laptop.fetch(t, "/api/private-route").wants(t, http.StatusUnauthorized, "application/json")
	operator.fetch(t, "/api/private-route").wants(t, http.StatusOK, "application/json")
}

// newVisitorAt returns a signed-out visitor at the home page.
func newVisitorAt(t *testing.T, base string) *visitor {
	t.Helper()
	v := newVisitor(t)
	v.open(t, base+"/")
	return v
}

func sessionsIn(t *testing.T, a answer) []map[string]any {
	t.Helper()
	var sessions []map[string]any
	for _, s := range a.json(t)["sessions"].([]any) {
		sessions = append(sessions, s.(map[string]any))
	}
	return sessions
}

// TestOperatorRevokesSubject ends all sessions of a subject at one node while that subject has a
// login in progress at another one. The login fails, the access token is denied, and the session
// ends. A login that begins afterwards succeeds.
func TestOperatorRevokesSubject(t *testing.T) {
	t.Parallel()
	onStores(t, func(t *testing.T, store string) {
		f := newFleet(t, 2)
		g, env, _ := startGated(t, f.base, 10*time.Minute)
		env = append(env, "GATEHOUSE_SESSION_STORE="+store, "GATEHOUSE_DENYLIST="+startRedis(t))
		var rest []string // the gateways of the other nodes
		for _, n := range f.nodes {
			rest = append(rest, freeAddress(t))
			n.start(t, len(f.nodes), append(env, "GATEHOUSE_LISTEN_GATEWAY="+rest[len(rest)-1])...)
		}
		for _, n := range f.nodes {
			n.ready(t, "http://"+n.address+"/readyz")
		}

		operator := entersAs(t, f.base, "admin")
		laptop := callerOf(t, f, entersAs(t, f.base, "buyer"))
		access := g.lastAccess(t)
		seller := callerOf(t, f, entersAs(t, f.base, "seller"))
		for _, n := range f.nodes {
			if err := laptop.works(t.Context(), n); err != nil {
				t.Fatal(err)
			}
		}
		phone := newVisitor(t)
		phone.open(t, f.base+"/private").wants(t, http.StatusOK, "text/html") // the provider's page

		// auth_time has whole seconds: a user who signs in in a later second than that of the
		// revocation has done so after it, and may. So this one signs in before it, and returns later.
		signedIn := phone.page.url
		phone.hold = f.base + "/api/auth/callback?"
		callback := chooses(t, phone, "buyer")
		phone.hold = ""
		other := "http://" + f.nodes[1].address
		ended := operator.send(t, http.MethodPost, other+"/api/admin/sessions:end", http.Header{
			"Content-Type": {"application/json"}, "Sec-Fetch-Site": {"same-origin"}, "Cookie": {callerOf(t, f, operator).cookie},
		}, strings.NewReader(`{"subject":"dev|buyer"}`)).wants(t, http.StatusOK, "application/json")
		if got := ended.json(t)["ended"]; got != float64(1) {
			t.Errorf("ended %v sessions, want 1", got)
		}

		refused := phone.navigate(t, http.MethodGet, callback.url, nil, signedIn).wants(t, http.StatusUnauthorized, "text/html")
		if !strings.HasPrefix(refused.url, f.base+"/api/auth/callback?") {
			t.Errorf("the login in progress ended at %s, want the callback", refused.url)
		}
		phone.fetch(t, f.base+"/api/auth/me").wants(t, http.StatusNoContent, "")
		for i, n := range f.nodes {
			within(t, time.Second+slack, "session and token end", func() error {
				if status, _ := laptop.status(t, n, "/api/private-route"); status != http.StatusUnauthorized {
					return fmt.Errorf("with the session that was there: %d", status)
				}
				got := bearing(t, rest[i], access)
				if challenge := got.Header.Get("WWW-Authenticate"); got.StatusCode != http.StatusUnauthorized || !strings.Contains(challenge, "revoked") {
					return fmt.Errorf("with the token that was there: %d, %s", got.StatusCode, challenge)
				}
				return nil
			})
			if err := seller.works(t.Context(), n); err != nil {
				t.Error("another subject:", err)
			}
		}

		again := callerOf(t, f, entersAs(t, f.base, "buyer"))
		for _, n := range f.nodes {
			if err := again.works(t.Context(), n); err != nil {
				t.Error("after a login that began afterwards:", err)
			}
		}
	})
}

// chooses signs a demo user in at the development provider's page.
func chooses(t *testing.T, v *visitor, user string) answer {
	t.Helper()
	method, action, values := formOf(t, v.page)
	values.Set("user", user)
	values.Del("cancel") // the other button
	return v.navigate(t, method, resolve(t, v.page.url, action), values, v.page.url)
}
