package refresh

import (
	"cmp"
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

// An Errand is a refresh for another audience than the session's. All fields are
// required.
type Errand struct {
	// Key is that of the route token.
	Key     string
	Target  rp.Target
	Circuit *Circuit
	// Find returns the token if another request has obtained it meanwhile, at
	// another node too.
	Find func(*session.Session) (session.RouteToken, bool)
	// Take is given the provider's answer, and returns the route token or why it is
	// of no use. The rest of the answer is kept in either case.
	Take func(ctx context.Context, answer session.Tokens) (session.RouteToken, error)
	// Unstored is given a route token that the session in the store does not have.
	Unstored func(session.RouteToken)
}

// A Refusal is the failure of a token request that says nothing about the session.
type Refusal struct {
	// Class is never Over or Unknown. It is 0 for an answer that is of no use.
	Class      Class
	RetryAfter time.Duration // 0 if it is not known
	Err        error
}

func (e *Refusal) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Refusal) Unwrap() error { return e.Err }

// Errand does an errand, or waits for the request that does it. The request waits for a
// limited time; the errand goes on. [session.ErrNotFound] means that the session is
// over, a *[Refusal] that the provider gives no such token, an *[Unavailable] that the
// errand is held back or takes too long, any other error that the store does not
// answer.
func (r *Refresher) Errand(ctx context.Context, s *session.Session, e *Errand) (_ session.RouteToken, err error) {
	ctx, span := r.cfg.Tracer.Start(ctx, tracing.AwaitRouteToken, trace.SpanKindInternal)
	defer func() { endSpan(span, err) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f, wait := r.begin(ctx, s, false, e)
		if f == nil {
			return session.RouteToken{}, &Unavailable{wait}
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return session.RouteToken{}, &Unavailable{}
		}
		switch {
		case f.errand != nil && f.errand.Key == e.Key:
			return f.token, f.err
		case errors.Is(f.err, session.ErrNotFound):
			return session.RouteToken{}, f.err
		case f.session != nil: // another refresh of the session
			s = f.session
			if token, ok := e.Find(s); ok {
				return token, nil
			}
		}
	}
}

// errand does an errand under the session's lock.
func (r *Refresher) errand(ctx context.Context, stale *session.Session, e *Errand) (*session.Session, session.RouteToken, error) {
	var found session.RouteToken
	have := func(s *session.Session) bool {
		token, ok := e.Find(s)
		if ok {
			found = token
		}
		return ok || s.Data.Tokens.Refresh == ""
	}
	good := !r.Expired(stale.Data.Tokens)
	l, s, err := r.acquire(ctx, stale, good, false, have)
	if err == nil && l != nil {
		defer l.stop()
		if s, err = r.reload(ctx, stale); err != nil || have(s) {
			l.release(ctx)
		}
	}
	switch {
	case err != nil:
		return nil, session.RouteToken{}, err
	case found.Access != "":
		return s, found, nil
	case s.Data.Tokens.Refresh == "":
		return s, session.RouteToken{}, ErrNoRefreshToken
	}
	good = !r.Expired(s.Data.Tokens)
	var answer session.Tokens
	class, retryAfter, err := e.Circuit.Do(ctx, s.ID, func() (err error) {
		answer, err = r.cfg.Party.RefreshFor(ctx, s.Data.Tokens.Refresh, e.Target)
		return err
	})
	if err != nil && !errors.Is(err, rp.ErrUnusable) {
		s, err = r.errandFailed(ctx, s, l, class, retryAfter, err, good)
		return s, session.RouteToken{}, err
	}
	return r.answered(ctx, s, l, e, answer, err)
}

// ErrNoRefreshToken says that a session has no refresh token.
var ErrNoRefreshToken = errors.New("the session has no refresh token")

// answered keeps what an errand has brought: the new refresh token first, because the
// old one is spent. unusable says that there is no token for the route in it.
func (r *Refresher) answered(
	ctx context.Context, s *session.Session, l *lock, e *Errand, answer session.Tokens, unusable error,
) (*session.Session, session.RouteToken, error) {
	if unusable == nil {
		if _, err := r.renewed(ctx, s, answer); err != nil { // the ID token of another user
			r.revoke(ctx, answer.Refresh)
			s, err = r.over(ctx, s, l, err, audit.Mismatch)
			if err == nil { // another node has refreshed the session
				err = &Unavailable{}
			}
			return s, session.RouteToken{}, err
		}
	}
	data := s.Data
	data.Tokens.Refresh = cmp.Or(answer.Refresh, s.Data.Tokens.Refresh)
	var token session.RouteToken
	if unusable == nil {
		token, unusable = e.Take(ctx, answer)
	}
	if unusable == nil {
		data = data.WithRoute(token, r.cfg.Now())
	} else {
		unusable = &Refusal{Err: unusable}
		if data.Tokens.Refresh == s.Data.Tokens.Refresh {
			l.release(ctx)
			return s, session.RouteToken{}, unusable
		}
	}
	written, err := r.write(ctx, &unwritten{s: s, fence: l.fence, data: data, granted: answer.Refresh, errand: true})
	if err != nil {
		return nil, session.RouteToken{}, err
	}
	if unusable != nil {
		return written, session.RouteToken{}, unusable
	}
	if stored, ok := written.Data.Route(e.Key); !ok || stored.Access != token.Access {
		e.Unstored(token)
	}
	return written, token, nil
}

// errandFailed does what follows a failure. Only the end of the grant, and an answer
// that may have rotated the refresh token, concern the session.
func (r *Refresher) errandFailed(
	ctx context.Context, s *session.Session, l *lock, class Class, retryAfter time.Duration, cause error, good bool,
) (*session.Session, error) {
	switch class {
	case 0: // held back
		l.release(ctx)
		return s, cause
	case Over:
		r.record(ctx, s, audit.RefreshRefused, audit.GrantEnded)
		current, err := r.over(ctx, s, l, cause, audit.NotRefreshed)
		if err == nil { // another node has refreshed the session
			err = &Unavailable{}
		}
		return current, err
	case Unknown:
		return s, r.unanswered(ctx, s, l, class, retryAfter, cause, false, good)
	}
	r.cfg.Logger.DebugContext(ctx, "token of a route not obtained", "session", s, "class", class.String(), "err", cause)
	l.release(ctx)
	return s, &Refusal{class, retryAfter, cause}
}
