package authn_test

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/audit"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// The class of a caller is decided before its scopes and permissions, for unary calls and
// streams, and a refusal is audited with the caller. At a public method a machine is no
// principal, and its token is verified all the same.
func TestCallers(t *testing.T) {
	t.Parallel()
	s := newSeveral(t)
	table, methods := newTable(t,
		&authv1.Policy{Public: true},
		nil,
		&authv1.Policy{Permissions: []string{"unheard-of"}},
		&authv1.Policy{Callers: []authv1.Callers{machines}, Permissions: []string{"unheard-of"}},
		&authv1.Policy{Callers: []authv1.Callers{users, machines}})
	var events []audit.Event
	i := authn.NewInterceptor(s.verifier(t, func(cfg *authn.Config) {
		cfg.Audit = func(_ context.Context, e audit.Event) error {
			events = append(events, e)
			return nil
		}
	}), table)
	machine, user, bad := s.githubToken(nil), mint(s.primary, nil), s.githubToken(map[string]any{"repository_owner": "evil"})
	const none, machinery, person = "none", "machines", "users"
	for _, c := range []struct {
		name, token, method string
		principal           string // of a call that is allowed
		reason              string
		metadata            []string
	}{
		{"a machine, public", machine, methods[0], none, "", nil},
		{"a user, public", user, methods[0], person, "", nil},
		{"a bad token, public", bad, methods[0], "", authn.ReasonTokenInvalid, nil},
		{"a machine, no policy", machine, methods[1], "", authn.ReasonCallerNotAllowed, []string{"callers", "users"}},
		{"a machine, a permission", machine, methods[2], "", authn.ReasonCallerNotAllowed, []string{"callers", "users"}},
		{"a user, machines", user, methods[3], "", authn.ReasonCallerNotAllowed, []string{"callers", "machines"}},
		{"a machine, machines", machine, methods[3], "", authn.ReasonPermissionMissing, []string{"permissions", "unheard-of"}},
		{"a machine, both", machine, methods[4], machinery, "", nil},
		{"a user, both", user, methods[4], person, "", nil},
	} {
		ctx := incoming(t.Context(), "Bearer "+c.token)
		describe := func(ctx context.Context) string {
			p, ok := authn.FromContext(ctx)
			if !ok {
				return none
			}
			return p.Class.String()
		}
		ways := map[string]func() (string, error){
			"unary": func() (got string, err error) {
				p, called, err := call(ctx, i, c.method)
				if called {
					got = describe(authn.NewContext(t.Context(), p))
				}
				return got, err
			},
		}
		for kind, info := range kinds {
			ways[kind] = func() (got string, err error) {
				err = stream(ctx, i, info, c.method, &fakeStream{}, func(_ any, ss grpc.ServerStream) error {
					got = describe(ss.Context())
					return nil
				})
				return got, err
			}
		}
		for way, make := range ways {
			events = nil
			got, err := make()
			if got != c.principal {
				t.Errorf("%s, %s: the principal is %q, want %q (%v)", c.name, way, got, c.principal, err)
			}
			if c.reason == "" {
				if err != nil || len(events) > 0 {
					t.Errorf("%s, %s: %v, events %v", c.name, way, err, events)
				}
				continue
			}
			code := codes.PermissionDenied
			if c.reason == authn.ReasonTokenInvalid {
				code = codes.Unauthenticated
			}
			wantRefusal(t, err, code, c.reason, c.metadata...)
			if c.reason == authn.ReasonCallerNotAllowed && (len(events) != 1 || events[0].Cause != audit.CallerNotAllowed || events[0].Subject == "" || events[0].Issuer == "") {
				t.Errorf("%s, %s: the events are %+v", c.name, way, events)
			}
		}
	}
}
