package authn_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// TestRevocation: the hook is asked at every call, and what it says counts at
// once, for tokens that are in the cache, too.
func TestRevocation(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	now := time.Now().Truncate(time.Second)
	var asked []authn.RevocationKey
	var answer error
	table, methods := newTable(t, nil, &authv1.Policy{Public: true})
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{
		Revoked: func(_ context.Context, key *authn.RevocationKey) error {
			asked = append(asked, *key)
			return answer
		},
	}), table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{
		"sub": "s", "client_id": "c", "sid": "S", "jti": "J", "iat": now.Unix(), "exp": now.Add(time.Hour).Unix(),
	}))
	for _, step := range []struct {
		name   string
		answer error
		code   codes.Code
		reason string
	}{
		{"good", nil, codes.OK, ""},
		{"revoked", authn.ErrRevoked, codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"revoked, with a cause", fmt.Errorf("sid S: %w", authn.ErrRevoked), codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"unknown", errors.New("database down"), codes.Unavailable, authn.ReasonUnverifiable},
		{"good again", nil, codes.OK, ""},
	} {
		answer = step.answer
		for _, method := range methods { // the public one too: a bad token is bad there
			p, called, err := call(ctx, i, method)
			if step.reason != "" {
				wantRefusal(t, err, step.code, step.reason)
				if called {
					t.Errorf("%s: the handler ran", step.name)
				}
			} else if err != nil || p == nil {
				t.Errorf("%s: refused: %v", step.name, err)
			}
		}
		err := stream(ctx, i, kinds["bidi"], methods[0], &fakeStream{}, func(any, grpc.ServerStream) error { return nil })
		if step.reason != "" {
			wantRefusal(t, err, step.code, step.reason)
		} else if err != nil {
			t.Errorf("%s: the stream is refused: %v", step.name, err)
		}
	}
	if len(asked) != 15 {
		t.Errorf("the hook was asked %d times at 15 calls", len(asked))
	}
	want := authn.RevocationKey{
		Issuer: issuer.URL, Subject: "s", ClientID: "c", SessionID: "S", ID: "J", IssuedAt: now, Expiry: now.Add(time.Hour),
	}
	for _, key := range asked {
		if key != want {
			t.Fatalf("the hook was asked about %+v, want %+v", key, want)
		}
	}

	before := len(asked)
	if _, _, err := call(incoming(t.Context(), "Bearer x.y.z"), i, methods[0]); err == nil || len(asked) != before {
		t.Error("the hook was asked about a token that is not good")
	}
}

// TestDenylist: logged out there, refused here.
func TestDenylist(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		t.Fatal(err)
	}
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Revoked: list.Revoked}), table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"sid": "S"}))
	other := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"sid": "T"}))
	if _, _, err := call(ctx, i, methods[0]); err != nil {
		t.Fatal(err)
	}
	if err := list.DenySession(issuer.URL, "S", time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, _, err = call(ctx, i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenRevoked)
	if _, _, err := call(other, i, methods[0]); err != nil {
		t.Errorf("another session is refused: %v", err)
	}
}
