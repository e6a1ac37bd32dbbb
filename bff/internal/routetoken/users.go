package routetoken

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

const (
	// storeTimeout bounds the calls of the session store that keep an exchanged token.
	storeTimeout = 2 * time.Second
	// lockLease is how long the lock for that outlives a process that is killed.
	lockLease = 10 * time.Second
	// forget is how long a state without a token is remembered, and maxStates how
	// many there are.
	forget    = 2 * time.Minute
	maxStates = 1 << 16
)

// users has the tokens of a route for the users' sessions.
type users struct {
	*requester

	mu     sync.Mutex
	states map[session.ID]*state
	swept  time.Time
}

// A state is what this process knows of a session's token beside the session itself.
type state struct {
	// token is one that the session in the store does not have; zero for none.
	token  session.RouteToken
	hold   hold
	flight *flight   // nil while this process requests nothing
	barred string    // a token that the upstream has refused
	spent  time.Time // when that was
	used   time.Time
}

func newUsers(r *requester) *users { return &users{requester: r, states: map[session.ID]*state{}} }

// get returns a valid token for a session. While the current one is valid, no request
// waits: it is renewed in the background.
func (u *users) get(ctx context.Context, s *session.Session) (session.RouteToken, error) {
	if s == nil {
		return session.RouteToken{}, session.ErrNotFound
	}
	stored, _ := s.Data.Route(u.key)
	u.mu.Lock()
	st, now := u.states[s.ID], u.cfg.Now()
	current, refused := u.newest(st, stored)
	if current.Access != "" && !refused && !u.due(current) {
		u.mu.Unlock()
		return current, nil
	}
	st = u.state(s.ID)
	valid := current.Access != "" && !refused
	if st.flight == nil {
		if err := st.hold.blocks(now); err == nil {
			u.begin(ctx, s, st)
		} else if current.Access == "" {
			u.mu.Unlock()
			return session.RouteToken{}, err
		} else {
			valid = true // also if the upstream has refused it, which may take it elsewhere
		}
	}
	f := st.flight
	u.mu.Unlock()
	if valid {
		return current, nil
	}
	ctx, span := u.cfg.Tracer.Start(ctx, tracing.AwaitRouteToken, trace.SpanKindInternal)
	defer span.End()
	token, err := await(ctx, f)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusServiceUnavailable && current.Access != "" {
		return current, nil
	}
	return token, err
}

// newest returns the newest token that has not expired, zero for none, and whether the
// upstream has refused it. The caller holds the mutex.
func (u *users) newest(st *state, stored session.RouteToken) (t session.RouteToken, refused bool) {
	now, barred := u.cfg.Now(), ""
	t = stored
	if st != nil {
		barred = st.barred
		if st.token.Access != "" && (t.Access == "" || t.Access == barred || st.token.ObtainedAt.After(t.ObtainedAt)) {
			t = st.token
		}
	}
	if !now.Before(t.ExpiresAt) {
		return session.RouteToken{}, false
	}
	return t, t.Access == barred && barred != ""
}

// state returns the state of a session, and removes old ones. The caller holds the mutex.
func (u *users) state(id session.ID) *state {
	now := u.cfg.Now()
	st := u.states[id]
	if st == nil {
		st = &state{}
		u.states[id] = st
	}
	st.used = now
	if now.Sub(u.swept) >= forget/2 || len(u.states) > maxStates && now.Sub(u.swept) >= time.Second {
		u.swept = now
		for other, old := range u.states {
			idle := now.Sub(old.used) > forget && now.After(old.hold.until) && !now.Before(old.token.ExpiresAt)
			if other != id && old.flight == nil && (idle || len(u.states) > maxStates) {
				delete(u.states, other)
			}
		}
	}
	return st
}

// begin requests a token for a session, whatever becomes of the request of the browser.
// The caller holds the mutex.
func (u *users) begin(ctx context.Context, s *session.Session, st *state) {
	f := &flight{done: make(chan struct{})}
	st.flight = f
	barred := st.barred
	ctx, span := u.cfg.Tracer.Start(context.WithoutCancel(ctx), tracing.RouteToken, trace.SpanKindInternal)
	u.cfg.Work.Go(func() {
		defer span.End()
		if u.route.Grant == Exchange {
			f.token, f.err = u.exchange(ctx, s)
		} else {
			f.token, f.err = u.refresh(ctx, s, barred)
		}
		if f.err != nil {
			f.err = u.failure(ctx, s, f.err)
			tracing.Fail(span, tracing.Kind(f.err))
		} else {
			u.count(metrics.RouteOK)
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		st.flight = nil
		switch {
		case f.err == nil:
			st.hold = hold{}
		case errors.Is(f.err, session.ErrNotFound):
			delete(u.states, s.ID)
		default:
			st.hold = st.hold.after(f.err, u.cfg.Now())
		}
		close(f.done)
	})
}

// keep remembers a token that the session in the store does not have.
func (u *users) keep(id session.ID, t session.RouteToken) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.state(id).token = t
}

// refresh obtains a token by the session's refresh token. barred is one that the
// upstream has refused.
func (u *users) refresh(ctx context.Context, s *session.Session, barred string) (session.RouteToken, error) {
	if s.Data.Tokens.Refresh == "" {
		return session.RouteToken{}, refresh.ErrNoRefreshToken
	}
	return u.cfg.Refresher.Errand(ctx, s, &refresh.Errand{
		Key: u.key, Target: u.route.target(), Circuit: u.circuit, Take: u.take,
		Find: func(current *session.Session) (session.RouteToken, bool) {
			t, ok := current.Data.Route(u.key)
			return t, ok && t.Access != barred && !u.due(t)
		},
		Unstored: func(t session.RouteToken) { u.keep(s.ID, t) },
	})
}

var errOtherProvider = errors.New("the session is of another provider")

// exchange obtains a token by an exchange of the session's access token, and keeps it in
// the session. It needs no lock for the exchange itself, which spends nothing.
func (u *users) exchange(ctx context.Context, s *session.Session) (session.RouteToken, error) {
	if strings.TrimSuffix(s.Issuer, "/") != strings.TrimSuffix(u.cfg.Party.Config().Provider.Issuer(), "/") {
		return session.RouteToken{}, &refresh.Refusal{Class: refresh.User, Err: errOtherProvider}
	}
	fresh, err := u.cfg.Refresher.Fresh(ctx, s)
	if err != nil {
		return session.RouteToken{}, err
	}
	t, err := u.ask(ctx, s.ID, func() (session.Tokens, error) {
		return u.cfg.Party.ExchangeToken(ctx, fresh.Data.Tokens.Access, u.route.target())
	})
	if err != nil {
		if refusal, ok := errors.AsType[*rp.Error](err); ok && (refusal.Code == "invalid_grant" || refusal.Code == "invalid_token") {
			u.cfg.Refresher.Refused(fresh) // perhaps it was revoked
		}
		return session.RouteToken{}, err
	}
	if err := u.store(ctx, fresh, t); errors.Is(err, session.ErrNotFound) {
		return session.RouteToken{}, err // signed out meanwhile
	} else if err != nil {
		u.keep(s.ID, t)
	}
	return t, nil
}

var errNotStored = errors.New("the session has no room for the token, or not all nodes can read it")

// store writes a token into its session. Any error but session.ErrNotFound means that
// it was not written: the lock is held for a refresh, or the store has failed.
func (u *users) store(ctx context.Context, s *session.Session, t session.RouteToken) error {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	fence, err := u.cfg.Sessions.Lock(bounded, s, lockLease)
	if err != nil {
		return err
	}
	current, err := u.cfg.Sessions.Reload(bounded, s)
	if err != nil {
		return errors.Join(err, u.cfg.Sessions.Unlock(bounded, s, fence))
	}
	written, err := u.cfg.Sessions.Write(bounded, current, fence, current.Data.WithRoute(t, u.cfg.Now()))
	if err != nil {
		return err
	}
	if stored, ok := written.Data.Route(u.key); !ok || stored.Access != t.Access {
		return errNotStored
	}
	return nil
}

// refused bars a token that the upstream has refused.
func (u *users) refused(s *session.Session, access string) bool {
	if s == nil {
		return false
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	stored, _ := s.Data.Route(u.key)
	now, st := u.cfg.Now(), u.state(s.ID)
	current, refused := u.newest(st, stored)
	switch {
	case !refused && current.Access != "" && current.Access != access: // there is another one already
		return true
	case now.Sub(st.spent) < refusalPause, now.Sub(current.ObtainedAt) < provenAge, st.hold.blocks(now) != nil:
		return false
	}
	st.barred, st.spent = access, now
	return true
}
