package catalog_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
)

type watch = grpc.ServerStreamingClient[audioarchivev1.WatchProductsResponse]

// watch opens a stream and reads its first message. The stream ends with ctx.
func (s *system) watch(ctx context.Context, token string) (watch, *audioarchivev1.WatchProductsResponse, error) {
	stream, err := s.WatchProducts(ctx, &audioarchivev1.WatchProductsRequest{ResumeToken: token})
	if err != nil {
		return nil, nil, err
	}
	first, err := stream.Recv()
	return stream, first, err
}

func TestWatch(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{}, func(t *testing.T, s *system) {
		s.offer(t, "sofia", product("Before"))
		stream, first, err := s.watch(s.as("ben"), "")
		if err != nil || first.GetKind() != audioarchivev1.WatchProductsResponse_KIND_READY || first.GetProduct() != nil || first.GetResumeToken() == "" {
			t.Fatalf("%v, %v", first, err)
		}
		created := s.offer(t, "sofia", product("One"))
		updated, err := s.UpdateProduct(s.as("sofia"), &audioarchivev1.UpdateProductRequest{
			Product: &audioarchivev1.Product{Name: created.GetName(), Title: "Two"}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"title"}},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeleteProduct(s.as("sofia"), &audioarchivev1.DeleteProductRequest{Name: created.GetName()}); err != nil {
			t.Fatal(err)
		}
		want := []*audioarchivev1.WatchProductsResponse{
			{Kind: audioarchivev1.WatchProductsResponse_KIND_CREATED, Product: created},
			{Kind: audioarchivev1.WatchProductsResponse_KIND_UPDATED, Product: updated},
			{Kind: audioarchivev1.WatchProductsResponse_KIND_DELETED, Product: updated},
		}
		tokens := []string{first.GetResumeToken()}
		for _, w := range want {
			got, err := stream.Recv()
			if err != nil {
				t.Fatal(err)
			}
			tokens = append(tokens, got.GetResumeToken())
			w.ResumeToken = got.GetResumeToken()
			if !proto.Equal(got, w) {
				t.Errorf("got %v, want %v", got, w)
			}
		}
		// Each token resumes with exactly the rest.
		for i, token := range tokens {
			ctx, cancel := context.WithCancel(s.as("ben"))
			stream, first, err := s.watch(ctx, token)
			if err != nil || first.GetResumeToken() != token {
				t.Fatalf("token %d: %v, %v", i, first, err)
			}
			for _, w := range want[i:] {
				if got, err := stream.Recv(); err != nil || !proto.Equal(got, w) {
					t.Errorf("token %d: got %v, %v, want %v", i, got, err, w)
				}
			}
			cancel()
			if _, err := stream.Recv(); status.Code(err) != codes.Canceled {
				t.Errorf("token %d: then %v", i, err)
			}
		}
	})
}

// A watcher whose connection breaks again and again receives every change once and in order.
func TestWatchSurvivesReconnects(t *testing.T) {
	t.Parallel()
	onEach(t, catalog.ProductsConfig{MaxWatchersEach: 100}, func(t *testing.T, s *system) {
		const writers, writes = 4, 15
		connected, breaks := context.WithCancel(s.as("ben"))
		stream, first, err := s.watch(connected, "")
		if err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for w := range writers {
			ctx := s.as(fmt.Sprint("seller", w))
			group.Go(func() {
				for n := range writes {
					if _, err := s.CreateProduct(ctx, &audioarchivev1.CreateProductRequest{Product: product(fmt.Sprintf("%d of %d", n, w))}); err != nil {
						t.Error(err)
					}
				}
			})
		}
		random := rand.New(rand.NewPCG(9, 10))
		token, next := first.GetResumeToken(), make([]int, writers)
		for total := 0; total < writers*writes; {
			for range 1 + random.IntN(6) {
				got, err := stream.Recv()
				if err != nil {
					t.Fatal(err)
				}
				token = got.GetResumeToken()
				if got.GetKind() == audioarchivev1.WatchProductsResponse_KIND_READY {
					continue
				}
				var n, w int
				if _, err := fmt.Sscanf(got.GetProduct().GetTitle(), "%d of %d", &n, &w); err != nil {
					t.Fatal(err)
				}
				if n != next[w] {
					t.Fatalf("writer %d: change %d comes where %d should", w, n, next[w])
				}
				next[w]++
				if total++; total == writers*writes {
					break
				}
			}
			breaks()
			connected, breaks = context.WithCancel(s.as("ben"))
			if stream, err = s.WatchProducts(connected, &audioarchivev1.WatchProductsRequest{ResumeToken: token}); err != nil {
				t.Fatal(err)
			}
		}
		breaks()
		group.Wait()
	})
}

// One caller cannot use all streams.
func TestWatchersEach(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{MaxWatchersEach: 2})
	for range 2 {
		if _, _, err := s.watch(s.as("ben"), ""); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := s.watch(s.as("ben"), ""); reason(err) != "ResourceExhausted TOO_MANY_WATCHERS" {
		t.Errorf("the third of two: %v", err)
	}
	if _, _, err := s.watch(s.as("sofia"), ""); err != nil {
		t.Errorf("another caller: %v", err)
	}
}

func TestWatchRefusals(t *testing.T) {
	t.Parallel()
	s := newSystem(t, "memory:", catalog.ProductsConfig{MaxWatchers: 2})
	other := newSystem(t, "memory:", catalog.ProductsConfig{})
	if _, _, err := s.watch(t.Context(), ""); reason(err) != "Unauthenticated TOKEN_MISSING" {
		t.Errorf("without a token: %v", err)
	}
	_, foreign, err := other.watch(other.as("ben"), "")
	if err != nil {
		t.Fatal(err)
	}
	page, err := other.ListProducts(t.Context(), &audioarchivev1.ListProductsRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for name, token := range map[string]string{"of another database": foreign.GetResumeToken(), "made up": "AAAA", "a page token": page.GetNextPageToken() + "x"} {
		if _, _, err := s.watch(s.as("ben"), token); reason(err) != "OutOfRange RESUME_TOKEN_EXPIRED" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := s.watch(s.as("ben"), strings.Repeat("x", 201)); fields(err) != "resume_token" {
		t.Errorf("too long: %v", err)
	}

	first, cancel := context.WithCancel(s.as("ben"))
	stream, _, err := s.watch(first, "")
	if err != nil {
		t.Fatal(err)
	}
	second, _, err := s.watch(s.as("ben"), "")
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.watch(s.as("ben"), ""); reason(err) != "ResourceExhausted TOO_MANY_WATCHERS" {
		t.Errorf("the third of two: %v", err)
	}
	cancel()
	for _, err := stream.Recv(); err == nil; _, err = stream.Recv() {
	}
	// The slot is free once the handler has noticed the end.
	for _, _, err = s.watch(s.as("ben"), ""); err != nil; _, _, err = s.watch(s.as("ben"), "") {
		if reason(err) != "ResourceExhausted TOO_MANY_WATCHERS" {
			t.Fatal(err)
		}
	}

	s.service.Drain()
	s.service.Drain() // a second call has no effect
	if _, err := second.Recv(); reason(err) != "Unavailable SERVER_STOPPING" {
		t.Errorf("at the end: %v", err)
	}
}
