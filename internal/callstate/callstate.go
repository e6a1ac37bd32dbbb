// Package callstate owns what the interceptors of a server have found out about a call: one object
// in the context of the call, instead of a context for each finding. It leaves the findings to the
// interceptors.
//
// Interceptors set the fields before the service has the context, which it may keep. A State is
// therefore never used for another call.
package callstate

import (
	"context"

	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// A State is the context of a call, or a part of it.
type State struct {
	// Context has the identifier of the request, and the context around the State.
	requestid.Context
	// Metadata is that of a call in process, as it arrived; nil for others. It must not be changed.
	Metadata metadata.MD
	// Principal is the caller, of the type of package authn, nil for none.
	Principal any
}

// New returns a State around a context.
func New(ctx context.Context) *State { return &State{Context: requestid.Context{Context: ctx}} }

type key struct{}

// PrincipalKey is the key of the principal in a context.
type PrincipalKey struct{}

// Value returns the principal, the identifier to package requestid, the State to [Of], and the
// values of the context around it.
func (s *State) Value(of any) any {
	switch of.(type) {
	case key:
		return s
	case PrincipalKey:
		if s.Principal != nil {
			return s.Principal
		}
	}
	return s.Context.Value(of)
}

// Of returns the State of a call, nil if its context has none.
func Of(ctx context.Context) *State {
	s, _ := ctx.Value(key{}).(*State)
	return s
}

// Incoming returns the values of a key in the metadata of a call, which must not be changed.
func Incoming(ctx context.Context, name string) []string {
	if s := Of(ctx); s != nil && s.Metadata != nil {
		return s.Metadata[name]
	}
	return metadata.ValueFromIncomingContext(ctx, name)
}
