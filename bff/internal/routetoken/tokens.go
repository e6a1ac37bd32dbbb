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

// A state is what this process knows of a token beside the session itself.
type state struct {
	// token is one that the session in the store does not have; zero for none.
	token  session.RouteToken
	hold   hold
	flight *flight   // nil while this process requests nothing
	barred string    // a token that the upstream has refused
	spent  time.Time // when that was
	used   time.Time
}

// A flight is a request for a token under way. Those who need the token share it.
type flight struct {
	done  chan struct{} // closed when token and err are set
	token session.RouteToken
	err   error
}

// await waits for a flight for a limited time.
func await(ctx context.Context, f *flight) (session.RouteToken, error) {
	bounded, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case <-f.done:
		return f.token, f.err
	case <-bounded.Done():
		return session.RouteToken{}, transient(0, errors.New("no token within the time that a request waits"))
	}
}

// A Source gives the requests of a route their tokens. The client's own is that of the
// zero ID: all sessions, and requests without one, share it. A Source is safe for
// concurrent use.
type Source struct {
	*requester

	mu     sync.Mutex
	states map[session.ID]*state
	swept  time.Time
}

// holder returns whose token a request of a session carries, and the one in the session.
func (src *Source) holder(s *session.Session) (id session.ID, stored session.RouteToken, ok bool) {
	switch {
	case src.route.Grant == Client:
		return session.ID{}, session.RouteToken{}, true
	case s == nil:
		return session.ID{}, session.RouteToken{}, false
	}
	stored, _ = s.Data.Route(src.key)
	return s.ID, stored, true
}

// get returns a valid token for a session. While the current one is valid, no request
// waits: it is renewed in the background.
func (src *Source) get(ctx context.Context, s *session.Session) (session.RouteToken, error) {
	id, stored, ok := src.holder(s)
	if !ok {
		return session.RouteToken{}, session.ErrNotFound
	}
	src.mu.Lock()
	st, now := src.states[id], src.cfg.Now()
	current, refused := src.newest(st, stored)
	if current.Access != "" && !refused && !src.due(current) {
		src.mu.Unlock()
		return current, nil
	}
	st = src.state(id)
	valid := current.Access != "" && !refused
	if st.flight == nil {
		if err := st.hold.blocks(now); err == nil {
			src.begin(ctx, s, id, st)
		} else if current.Access == "" {
			src.mu.Unlock()
			return session.RouteToken{}, err
		} else {
			valid = true // also if the upstream has refused it, which may take it elsewhere
		}
	}
	f := st.flight
	src.mu.Unlock()
	if valid {
		return current, nil
	}
	ctx, span := src.cfg.Tracer.Start(ctx, tracing.AwaitRouteToken, trace.SpanKindInternal)
	defer span.End()
	token, err := await(ctx, f)
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusServiceUnavailable && current.Access != "" {
		return current, nil
	}
	return token, err
}

// newest returns the newest token that has not expired, zero for none, and whether the
// upstream has refused it. The caller holds the mutex.
func (src *Source) newest(st *state, stored session.RouteToken) (t session.RouteToken, refused bool) {
	now, barred := src.cfg.Now(), ""
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
func (src *Source) state(id session.ID) *state {
	now := src.cfg.Now()
	st := src.states[id]
	if st == nil {
		st = &state{}
		src.states[id] = st
	}
	st.used = now
	if now.Sub(src.swept) >= forget/2 || len(src.states) > maxStates && now.Sub(src.swept) >= time.Second {
		src.swept = now
		for other, old := range src.states {
			idle := now.Sub(old.used) > forget && now.After(old.hold.until) && !now.Before(old.token.ExpiresAt)
			if other != id && old.flight == nil && (idle || len(src.states) > maxStates) {
				delete(src.states, other)
			}
		}
	}
	return st
}

// begin requests a token for a session, whatever becomes of the request of the browser.
// The caller holds the mutex.
func (src *Source) begin(ctx context.Context, s *session.Session, id session.ID, st *state) {
	f := &flight{done: make(chan struct{})}
	st.flight = f
	barred := st.barred
	ctx, span := src.cfg.Tracer.Start(context.WithoutCancel(ctx), tracing.RouteToken, trace.SpanKindInternal)
	src.cfg.Work.Go(func() {
		defer span.End()
		switch src.route.Grant {
		case Client:
			f.token, f.err = src.own(ctx, id)
		case Exchange:
			f.token, f.err = src.exchange(ctx, s)
		default:
			f.token, f.err = src.refresh(ctx, s, barred)
		}
		if f.err != nil {
			f.err = src.failure(ctx, s, f.err)
			tracing.Fail(span, tracing.Kind(f.err))
		} else {
			src.count(metrics.RouteOK)
		}
		src.mu.Lock()
		defer src.mu.Unlock()
		st.flight = nil
		switch {
		case f.err == nil:
			st.hold = hold{}
		case errors.Is(f.err, session.ErrNotFound):
			delete(src.states, id)
		default:
			st.hold = st.hold.after(f.err, src.cfg.Now())
		}
		close(f.done)
	})
}

// keep remembers a token that the session in the store does not have.
func (src *Source) keep(id session.ID, t session.RouteToken) {
	src.mu.Lock()
	defer src.mu.Unlock()
	src.state(id).token = t
}

// own obtains the client's own token.
func (src *Source) own(ctx context.Context, id session.ID) (session.RouteToken, error) {
	t, err := src.ask(ctx, src.clientID(), func() (session.Tokens, error) {
		return src.cfg.Party.ClientTokens(ctx, src.route.target())
	})
	if err == nil {
		src.keep(id, t)
		src.cfg.Logger.InfoContext(ctx, "client token obtained for a route", "route", src.route.Path, "expires", t.ExpiresAt)
	}
	return t, err
}

// refresh obtains a token by the session's refresh token. barred is one that the
// upstream has refused.
func (src *Source) refresh(ctx context.Context, s *session.Session, barred string) (session.RouteToken, error) {
	if s.Data.Tokens.Refresh == "" {
		return session.RouteToken{}, refresh.ErrNoRefreshToken
	}
	return src.cfg.Refresher.Errand(ctx, s, &refresh.Errand{
		Key: src.key, Target: src.route.target(), Circuit: src.circuit, Take: src.take,
		Find: func(current *session.Session) (session.RouteToken, bool) {
			t, ok := current.Data.Route(src.key)
			return t, ok && t.Access != barred && !src.due(t)
		},
		Unstored: func(t session.RouteToken) { src.keep(s.ID, t) },
	})
}

var errOtherProvider = errors.New("the session is of another provider")

// exchange obtains a token by an exchange of the session's access token, and keeps it in
// the session. It needs no lock for the exchange itself, which spends nothing.
func (src *Source) exchange(ctx context.Context, s *session.Session) (session.RouteToken, error) {
	if strings.TrimSuffix(s.Issuer, "/") != strings.TrimSuffix(src.cfg.Party.Config().Provider.Issuer(), "/") {
		return session.RouteToken{}, &refresh.Refusal{Class: refresh.User, Err: errOtherProvider}
	}
	fresh, err := src.cfg.Refresher.Fresh(ctx, s)
	if err != nil {
		return session.RouteToken{}, err
	}
	t, err := src.ask(ctx, s.ID, func() (session.Tokens, error) {
		return src.cfg.Party.ExchangeToken(ctx, fresh.Data.Tokens.Access, src.route.target())
	})
	if err != nil {
		if refusal, ok := errors.AsType[*rp.Error](err); ok && (refusal.Code == "invalid_grant" || refusal.Code == "invalid_token") {
			src.cfg.Refresher.Refused(fresh) // perhaps it was revoked
		}
		return session.RouteToken{}, err
	}
	if err := src.store(ctx, fresh, t); errors.Is(err, session.ErrNotFound) {
		return session.RouteToken{}, err // signed out meanwhile
	} else if err != nil {
		src.keep(s.ID, t)
	}
	return t, nil
}

var errNotStored = errors.New("the session has no room for the token, or not all nodes can read it")

// store writes a token into its session. Any error but session.ErrNotFound means that
// it was not written: the lock is held for a refresh, or the store has failed.
func (src *Source) store(ctx context.Context, s *session.Session, t session.RouteToken) error {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	fence, err := src.cfg.Sessions.Lock(bounded, s, lockLease)
	if err != nil {
		return err
	}
	current, err := src.cfg.Sessions.Reload(bounded, s)
	if err != nil {
		return errors.Join(err, src.cfg.Sessions.Unlock(bounded, s, fence))
	}
	written, err := src.cfg.Sessions.Write(bounded, current, fence, current.Data.WithRoute(t, src.cfg.Now()))
	if err != nil {
		return err
	}
	if stored, ok := written.Data.Route(src.key); !ok || stored.Access != t.Access {
		return errNotStored
	}
	return nil
}

// refused bars a token that the upstream has refused.
func (src *Source) refused(s *session.Session, access string) bool {
	id, stored, ok := src.holder(s)
	if !ok {
		return false
	}
	src.mu.Lock()
	defer src.mu.Unlock()
	now, st := src.cfg.Now(), src.state(id)
	current, refused := src.newest(st, stored)
	switch {
	case !refused && current.Access != "" && current.Access != access: // there is another one already
		return true
	case now.Sub(st.spent) < refusalPause, now.Sub(current.ObtainedAt) < provenAge, st.hold.blocks(now) != nil:
		return false
	}
	st.barred, st.spent = access, now
	return true
}
