package authn

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/callstate"
)

// An interceptor inside of another one, with a verifier of its own, does not change the principal
// that the outer one has set.
func TestInnerInterceptor(t *testing.T) {
	t.Parallel()
	first, second := &Principal{Subject: "first"}, &Principal{Subject: "second"}
	outer := withPrincipal(callstate.New(t.Context()), first)
	inner := withPrincipal(outer, second)
	if p, ok := FromContext(outer); !ok || p != first {
		t.Errorf("outside: %v, want %v", p, first)
	}
	if p, ok := FromContext(inner); !ok || p != second {
		t.Errorf("inside: %v, want %v", p, second)
	}
}
