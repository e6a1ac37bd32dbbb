package authn_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// A revokedFunc is a denylist without Changed.
type revokedFunc func(context.Context, *authn.RevocationKey) error

func (f revokedFunc) Revoked(ctx context.Context, key *authn.RevocationKey) error { return f(ctx, key) }

// Revoked is asked at every call, also for cached tokens, and applies at once.
func TestRevocation(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	now := time.Now().Truncate(time.Second)
	var asked []authn.RevocationKey
	var answer error
	table, methods := newTable(t, nil, &authv1.Policy{Public: true})
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{
		Denylist: revokedFunc(func(_ context.Context, key *authn.RevocationKey) error {
			asked = append(asked, *key)
			return answer
		}),
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
		for _, method := range methods { // the public one too: it refuses bad tokens as well
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
		t.Errorf("Revoked was asked %d times, want 15", len(asked))
	}
	want := authn.RevocationKey{
		Issuer: issuer.URL, Subject: "s", ClientID: "c", SessionID: "S", ID: "J", IssuedAt: now, Expiry: now.Add(time.Hour),
	}
	for _, key := range asked {
		if key != want {
			t.Fatalf("Revoked was asked about %+v, want %+v", key, want)
		}
	}

	before := len(asked)
	if _, _, err := call(incoming(t.Context(), "Bearer x.y.z"), i, methods[0]); err == nil || len(asked) != before {
		t.Error("Revoked was asked about an invalid token")
	}
}

// A session on the denylist is refused.
func TestDenylist(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		t.Fatal(err)
	}
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(newVerifier(t, issuer, authn.Config{Denylist: list}), table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"sid": "S"}))
	other := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"sid": "T"}))
	if _, _, err := call(ctx, i, methods[0]); err != nil {
		t.Fatal(err)
	}
	if err := list.DenySession(t.Context(), issuer.URL, "S", time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, _, err = call(ctx, i, methods[0])
	wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenRevoked)
	if _, _, err := call(other, i, methods[0]); err != nil {
		t.Errorf("another session is refused: %v", err)
	}
}

// An open stream ends within a second when a new call with its token would be refused,
// whatever its kind and whatever its handler is doing; other streams go on.
func TestStreamEndsWithItsRefusal(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	claims := map[string]any{"sub": "ada", "sid": "S", "jti": "J"}
	handlers := map[string]grpc.StreamHandler{
		"receiving": func(_ any, ss grpc.ServerStream) error {
			var m string
			return ss.RecvMsg(&m)
		},
		"waiting for its context": func(_ any, ss grpc.ServerStream) error {
			<-ss.Context().Done()
			return nil
		},
		"sending": func(_ any, ss grpc.ServerStream) error {
			for range time.Tick(100 * time.Millisecond) {
				if err := ss.SendMsg("tick"); err != nil {
					return errors.New("another error")
				}
				if err := ss.Context().Err(); err != nil { // the client has gone
					return err
				}
			}
			return nil
		},
	}
	type system struct {
		list *denylist.List
		hook func(error) // sets the answer of a denylist without Changed
		clk  *clock
	}
	revoked := func(deny func(*denylist.List, time.Time) error) func(*testing.T, system) {
		return func(t *testing.T, s system) {
			if err := deny(s.list, s.clk.Now()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		name   string
		happen func(*testing.T, system)
		within time.Duration
		code   codes.Code
		reason string // "" for a stream that goes on
	}{
		{"jti", revoked(func(l *denylist.List, _ time.Time) error {
			return l.DenyToken(t.Context(), issuer.URL, "J", time.Time{})
		}), 100 * time.Millisecond, codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"sid", revoked(func(l *denylist.List, _ time.Time) error {
			return l.DenySession(t.Context(), issuer.URL, "S", time.Time{})
		}), 100 * time.Millisecond, codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"sub", revoked(func(l *denylist.List, now time.Time) error {
			return l.DenySubject(t.Context(), issuer.URL, "ada", now.Add(time.Minute), time.Time{})
		}), 100 * time.Millisecond, codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"another session", revoked(func(l *denylist.List, _ time.Time) error {
			return l.DenySession(t.Context(), issuer.URL, "T", time.Time{})
		}), 0, codes.OK, ""},
		{"the same session elsewhere", revoked(func(l *denylist.List, _ time.Time) error {
			return l.DenySession(t.Context(), "https://other.example", "S", time.Time{})
		}), 0, codes.OK, ""},
		{"sub, before the token was issued", revoked(func(l *denylist.List, now time.Time) error {
			return l.DenySubject(t.Context(), issuer.URL, "ada", now.Add(-time.Hour), time.Time{})
		}), 0, codes.OK, ""},
		{"without notification", func(_ *testing.T, s system) { s.hook(fmt.Errorf("found: %w", authn.ErrRevoked)) }, time.Second, codes.Unauthenticated, authn.ReasonTokenRevoked},
		{"a denylist that fails", func(_ *testing.T, s system) { s.hook(errors.New("database down")) }, time.Second, codes.Unavailable, authn.ReasonUnverifiable},
		{"max_age", func(_ *testing.T, s system) { s.clk.Advance(11 * time.Minute) }, time.Second, codes.Unauthenticated, authn.ReasonStepUpRequired},
	} {
		for kind, info := range kinds {
			for doing, handler := range handlers {
				t.Run(c.name+"/"+kind+"/"+doing, func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						s := system{clk: newClock()}
						var err error
						if s.list, err = denylist.New(denylist.Config{Now: s.clk.Now}); err != nil {
							t.Fatal(err)
						}
						var mu sync.Mutex
						var answer error
						s.hook = func(err error) { mu.Lock(); answer = err; mu.Unlock() }
						cfg := authn.Config{Now: s.clk.Now, Denylist: s.list}
						if c.within == time.Second {
							cfg.Denylist = revokedFunc(func(context.Context, *authn.RevocationKey) error { mu.Lock(); defer mu.Unlock(); return answer })
						}
						table, methods := newTable(t, &authv1.Policy{MaxAge: durationpb.New(10 * time.Minute)})
						i := authn.NewInterceptor(newVerifier(t, issuer, cfg), table)
						now := s.clk.Now()
						all := map[string]any{"iat": now.Unix(), "exp": now.Add(time.Hour).Unix(), "auth_time": now.Unix()}
						maps.Copy(all, claims)
						ctx, cancel := context.WithCancel(incoming(t.Context(), "Bearer "+mint(issuer, all)))
						ended := make(chan error, 1)
						go func() {
							ended <- stream(ctx, i, info, methods[0], &fakeStream{received: make(chan string)}, handler)
						}()
						time.Sleep(2500 * time.Millisecond) // fake time: long open, and between two checks
						synctest.Wait()
						select {
						case err := <-ended:
							t.Fatalf("ended before anything happened: %v", err)
						default:
						}
						c.happen(t, s)
						if c.reason == "" {
							time.Sleep(time.Minute)
							cancel()
							if err := <-ended; status.Code(err) == codes.Unauthenticated {
								t.Errorf("ended: %v", err)
							}
							return
						}
						defer cancel()
						began := time.Now()
						wantRefusal(t, <-ended, c.code, c.reason, refusalMetadata(c.reason)...)
						allowed := c.within
						if doing == "sending" {
							allowed += 100 * time.Millisecond
						}
						if took := time.Since(began); took > allowed {
							t.Errorf("ended after %v, want at most %v", took, allowed)
						}
					})
				})
			}
		}
	}
}

func refusalMetadata(reason string) []string {
	if reason == authn.ReasonStepUpRequired {
		return []string{"max_age", "600"}
	}
	return nil
}

// Tokens of a key that the provider has withdrawn are refused, and their streams end.
func TestStreamEndsWithItsKey(t *testing.T) {
	t.Parallel()
	issuer := newIssuer(t)
	provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
	if err != nil {
		t.Fatal(err)
	}
	if err := provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	v, err := authn.NewVerifier(authn.Config{Audience: audience, Provider: provider})
	if err != nil {
		t.Fatal(err)
	}
	table, methods := newTable(t, nil)
	i := authn.NewInterceptor(v, table)
	ctx := incoming(t.Context(), "Bearer "+mint(issuer, nil))
	ended, opened := make(chan error, 1), make(chan struct{})
	go func() {
		ended <- stream(ctx, i, kinds["bidi"], methods[0], &fakeStream{received: make(chan string)}, func(_ any, ss grpc.ServerStream) error {
			close(opened)
			<-ss.Context().Done()
			return nil
		})
	}()
	<-opened
	issuer.Rotate()
	issuer.Retire()
	if err := provider.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantRefusal(t, <-ended, codes.Unauthenticated, authn.ReasonTokenInvalid)
}
