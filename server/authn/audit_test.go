package authn_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/audit"
	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// Each refusal has its cause; those of valid tokens are recorded one by one, with the
// principal, and the others once.
func TestAudit(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	var events []audit.Event
	var revoked error
	table, methods := newTable(t,
		&authv1.Policy{Scopes: []string{"write"}}, &authv1.Policy{Permissions: []string{"admin"}},
		&authv1.Policy{MaxAge: durationpb.New(time.Minute)}, &authv1.Policy{Public: true}, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{
		Denylist: revokedFunc(func(context.Context, *authn.RevocationKey) error { return revoked }),
		Audit: func(_ context.Context, e audit.Event) error {
			events = append(events, e)
			return nil
		},
	}), table)
	valid := map[string]any{"sub": "s", "client_id": "c"}
	good := incoming(t.Context(), "Bearer "+mint(issuer, valid))
	expired := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}))
	for _, c := range []struct {
		name    string
		ctx     context.Context
		method  string
		revoked error
		cause   audit.Cause
		every   bool
	}{
		{"scope", good, methods[0], nil, audit.ScopeMissing, true},
		{"permission", good, methods[1], nil, audit.PermissionMissing, true},
		{"step-up", good, methods[2], nil, audit.StepUpRequired, true},
		{"no token", t.Context(), methods[0], nil, audit.TokenMissing, false},
		{"another scheme", incoming(t.Context(), "Basic eDp5"), methods[3], nil, "", false}, // of the kind before
		{"not a token", incoming(t.Context(), "Bearer x.y.z"), methods[3], nil, audit.TokenInvalid, false},
		{"expired", expired, methods[4], nil, audit.TokenExpired, false},
		{"revoked", good, methods[4], authn.ErrRevoked, audit.TokenRevoked, false},
		{"denylist away", good, methods[4], errors.New("away"), "", false},
		{"allowed", good, methods[4], nil, "", false},
		{"public", t.Context(), methods[3], nil, "", false},
	} {
		events, revoked = nil, c.revoked
		for range 2 {
			_, _, _ = call(c.ctx, i, c.method) // the events are compared
			_ = stream(c.ctx, i, kinds["bidi"], c.method, &fakeStream{}, func(any, grpc.ServerStream) error { return nil })
		}
		want := 0
		switch {
		case c.every:
			want = 4
		case c.cause != "":
			want = 1
		}
		if len(events) != want {
			t.Errorf("%s: %d events, want %d: %+v", c.name, len(events), want, events)
			continue
		}
		for _, e := range events {
			who := ""
			if c.every {
				who = fmt.Sprint(issuer.URL, "s", "c")
			}
			if e.Action != audit.CallDenied || e.Cause != c.cause || e.Method != c.method || e.Part != "server" || fmt.Sprint(e.Issuer, e.Subject, e.ClientID) != who {
				t.Errorf("%s: event %+v, want cause %s by %q", c.name, e, c.cause, who)
			}
		}
	}
}

// Calls that are allowed cost the same with an audit log.
func TestAuditAllocatesNothing(t *testing.T) {
	issuer := newIssuer(t)
	table, methods := newTable(t, nil)
	var allocated []float64
	for _, handler := range []audit.Handler{nil, func(context.Context, audit.Event) error { return nil }} {
		i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Audit: handler}), table)
		ctx := incoming(t.Context(), "Bearer "+mint(issuer, nil))
		info := &grpc.UnaryServerInfo{FullMethod: methods[0]}
		handle := func(context.Context, any) (any, error) { return nil, nil }
		allocated = append(allocated, testing.AllocsPerRun(100, func() {
			if _, err := i.Unary(ctx, nil, info, handle); err != nil {
				t.Fatal(err)
			}
		}))
	}
	if slices.Max(allocated) != slices.Min(allocated) {
		t.Errorf("%v allocations without and with an audit log, want the same", strings.Trim(fmt.Sprint(allocated), "[]"))
	}
}
