package callstate_test

import (
	"context"
	"testing"

	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/callstate"
	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// What a State does not have is that of the context around it, and a context inside of it hides
// what it has.
func TestValues(t *testing.T) {
	t.Parallel()
	outer := context.WithValue(requestid.NewContext(t.Context(), "outer"), callstate.PrincipalKey{}, "outer")
	outer = metadata.NewIncomingContext(outer, metadata.Pairs("a", "outer"))
	s := callstate.New(outer)
	seen := func(ctx context.Context) [3]any {
		var a any
		if values := callstate.Incoming(ctx, "a"); len(values) == 1 {
			a = values[0]
		}
		return [3]any{requestid.FromContext(ctx), ctx.Value(callstate.PrincipalKey{}), a}
	}
	if got, want := seen(s), [3]any{"outer", "outer", "outer"}; got != want {
		t.Errorf("an empty State: got %v, want %v", got, want)
	}
	s.IDs[0], s.Principal, s.Metadata = "set", "set", metadata.Pairs("a", "set")
	inner := context.WithValue(s, callstate.PrincipalKey{}, "inner")
	if got, want := seen(inner), [3]any{"set", "inner", "set"}; got != want {
		t.Errorf("a context inside: got %v, want %v", got, want)
	}
	if callstate.Of(inner) != s || callstate.Of(outer) != nil {
		t.Error("Of does not return the State")
	}
}
