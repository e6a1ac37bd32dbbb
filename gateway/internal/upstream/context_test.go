package upstream

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/metadata"
)

// TestMetadataIsFound fails if package metadata looks up the metadata of a call in another way, after
// an update of grpc-go for example.
func TestMetadataIsFound(t *testing.T) {
	t.Parallel()
	type key struct{}
	want := metadata.Pairs("authorization", "Bearer a", "x-request-id", "1")
	c := new(Context)
	c.Begin(t.Context(), nil, want.Copy())
	defer c.End()
	for name, ctx := range map[string]context.Context{
		"the context": c, "without its end": c.Unending(), "derived": context.WithValue(c, key{}, 1), "not canceled": context.WithoutCancel(c),
	} {
		got, _ := metadata.FromOutgoingContext(ctx)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: metadata (-want +got):\n%s", name, diff)
		}
		got.Set("authorization", "Bearer b")
		got["x-request-id"][0] = "2"
	}
	added, _ := metadata.FromOutgoingContext(metadata.AppendToOutgoingContext(c, "x-added", "3"))
	if diff := cmp.Diff(metadata.Join(want, metadata.Pairs("x-added", "3")), added); diff != "" {
		t.Errorf("metadata with a pair more (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, c.OutgoingMetadata()); diff != "" {
		t.Errorf("metadata was changed through a copy (-want +got):\n%s", diff)
	}
}

// TestUnending ends a call below a context without its end.
func TestUnending(t *testing.T) {
	t.Parallel()
	c := new(Context)
	c.Begin(t.Context(), nil, nil)
	ctx, cancel := context.WithCancel(c.Unending())
	defer cancel()
	c.End()
	if c.Err() == nil || ctx.Err() != nil || ctx.Done() == nil {
		t.Errorf("Err = %v, without end %v, want an end of the first only", c.Err(), ctx.Err())
	}
}
