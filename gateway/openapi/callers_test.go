package openapi_test

import (
	"strings"
	"testing"
)

// jobs is a service with a method for each set of callers.
const jobs = `
message_type { name: "Empty" }
service { name: "JobService"
  method { name: "Everyone" input_type: ".PKG.Empty" output_type: ".PKG.Empty"
    options { [google.api.http] { get: "/api/both" } [gatehouse.auth.v1.policy] { callers: [CALLERS_MACHINES, CALLERS_USERS] } } }
  method { name: "Machines" input_type: ".PKG.Empty" output_type: ".PKG.Empty"
    options { [google.api.http] { get: "/api/machines" } [gatehouse.auth.v1.policy] { callers: CALLERS_MACHINES } } }
  method { name: "Publish" input_type: ".PKG.Empty" output_type: ".PKG.Empty"
    options { [google.api.http] { get: "/api/publish" } [gatehouse.auth.v1.policy] { callers: CALLERS_MACHINES permissions: "publish" } } }
  method { name: "Users" input_type: ".PKG.Empty" output_type: ".PKG.Empty"
    options { [google.api.http] { get: "/api/users" } [gatehouse.auth.v1.policy] { callers: CALLERS_USERS } } }
}
`

// TestCallers checks that a document says which classes of callers a method admits, and
// that a session, which is a user's, is no way to call a method for machines.
func TestCallers(t *testing.T) {
	t.Parallel()
	doc := described(t, jobs)
	const tokens = `{"bearer":[]},{"openid":[]}`
	for path, want := range map[string]struct{ security, policy, access, forbidden string }{
		"/api/both": {`[` + tokens + `,{"session":[]}]`, `{"callers":["users","machines"],"public":false}`,
			"requires a valid token of a user or a machine.", "#/components/responses/Forbidden"},
		"/api/machines": {`[` + tokens + `]`, `{"callers":["machines"],"public":false}`,
			"requires a valid token of a machine, not of a user.", `"metadata":{"callers":"machines"},"reason":"CALLER_CLASS_NOT_ALLOWED"`},
		"/api/publish": {`[` + tokens + `]`, `{"callers":["machines"],"permissions":["publish"],"public":false}`,
			"requires a valid token of a machine, not of a user, and the permission `publish`.", `"reason":"PERMISSION_MISSING"`},
		"/api/users": {`[` + tokens + `,{"session":[]}]`, `{"public":false}`, "requires a valid token.", "#/components/responses/Forbidden"},
	} {
		op := at[map[string]any](t, doc, "paths", path, "get")
		if got := text(t, op["security"]); got != want.security {
			t.Errorf("%s: security is %s, want %s", path, got, want.security)
		}
		if got := text(t, op["x-gatehouse-policy"]); got != want.policy {
			t.Errorf("%s: the policy is %s, want %s", path, got, want.policy)
		}
		if got := at[string](t, op, "description"); !strings.Contains(got, want.access) {
			t.Errorf("%s: got description %q, want %q in it", path, got, want.access)
		}
		if got := text(t, at[any](t, op, "responses", "403")); !strings.Contains(got, want.forbidden) {
			t.Errorf("%s: 403 is %s, want %s in it", path, got, want.forbidden)
		}
	}
}
