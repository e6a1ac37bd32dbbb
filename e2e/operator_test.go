package e2e

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// An operator sees who is signed in, through the same REST facade and policy
// as everything else, and ends sessions; a person does not.
func TestOperatorEndsSessions(t *testing.T) {
	t.Parallel()
	s := startDev(t)
	enters := func(user string) *visitor { return entersAs(t, s.base, user) }
	operator, laptop, phone := enters("admin"), enters("buyer"), enters("buyer")

	list := func(v *visitor, query string) answer { return v.fetch(t, "/api/admin/sessions"+query) }
	ofBuyer := "?" + url.Values{"subject": {"dev|buyer"}}.Encode()
	list(laptop, ofBuyer).wants(t, http.StatusForbidden, "application/json")
	list(newVisitorAt(t, s.base), "").wants(t, http.StatusUnauthorized, "application/json")

	everybody := list(operator, "").wants(t, http.StatusOK, "application/json")
	if got := len(sessionsIn(t, everybody)); got != 3 {
		t.Fatalf("the operator sees %d sessions, want 3: %s", got, everybody.body)
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

// newVisitorAt is somebody who is signed out and looks at the home page.
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
