package refresh

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/gatehouse-dev/gatehouse/bff/internal/inflight"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

const (
	// patience bounds how long a browser's request waits for a token.
	patience = 10 * time.Second
	// lead is how long before expiry a token is refreshed.
	lead = 60 * time.Second
	// lockLease is how long a lock outlives a process that is killed, and
	// leaseTick how often a longer refresh renews it.
	lockLease = 10 * time.Second
	leaseTick = 3 * time.Second
	// lockPoll is how often a node checks whether another one has finished.
	lockPoll = 100 * time.Millisecond
	// storeTimeout bounds one call of the session store, and the verification of an ID token.
	storeTimeout = 10 * time.Second
	// writePatience is how long a refresh retries to store the new tokens, and writePoll how often.
	writePatience = 8 * time.Second
	writePoll     = 250 * time.Millisecond
	// refusalPause is the time between two refreshes because of refusals by the
	// API. A refusal of a token that a refresh has obtained less than provenAge
	// ago, and that the API has not accepted yet, causes none in that time
	// either. Otherwise an API that refuses all tokens would cause a refresh at
	// each request.
	refusalPause = 30 * time.Second
	provenAge    = 5 * time.Second
	// pause is the time without a refresh after a transient failure, longPause
	// that after manyFailures in succession.
	pause        = time.Second
	manyFailures = 5
	longPause    = 5 * time.Second
	// After a failure of class Operator there is no refresh for pause. After
	// quickTries it doubles each time, up to maxBackoff.
	quickTries = 3
	maxBackoff = time.Minute
	// forget is how long a hold is remembered.
	forget = 2 * time.Minute
	// operatorTick is the time between two log lines at error level for one error
	// code of class Operator.
	operatorTick = time.Minute
)

// An Unavailable error means that a session's access token cannot be refreshed at
// the moment. It leads to a 503, not to a logout.
type Unavailable struct {
	// RetryAfter is the time until the next attempt, 0 if it is not known.
	RetryAfter time.Duration
}

func (e *Unavailable) Error() string {
	return "the access token has expired and cannot be renewed at the moment"
}

// Config configures a Refresher. All fields are required.
type Config struct {
	Sessions *session.Manager
	Party    *rp.Party
	// RevokeAt revokes a refresh token when it is due.
	RevokeAt func(ctx context.Context, refreshToken string, due time.Time)
	// Setting returns the name of the setting for a field of bff.Config.
	Setting func(field string) string
	// Work counts what a stop of the process must wait for.
	Work   *inflight.Group
	Now    func() time.Time
	Logger *slog.Logger
	// MeterProvider makes the instruments of the metrics, nil for none.
	MeterProvider metric.MeterProvider
	Tracer        *tracing.Tracer
	// Audit records refusals of the provider; nil for none.
	Audit *auditlog.Recorder
}

// A Refresher refreshes the access tokens of sessions. It is safe for concurrent use.
type Refresher struct {
	cfg     Config
	breaker breaker
	results *metrics.Counter   // of refreshes
	waits   *metrics.Histogram // of requests
	// refusals tells all nodes that a refusal by the API has caused a refresh.
	refusals session.Notes

	mu       sync.Mutex
	flights  map[session.ID]*flight
	holds    map[session.ID]hold
	swept    time.Time            // when old holds were last removed
	operator map[string]time.Time // error code → when it was last logged
	// unwritten holds new tokens that could not be stored.
	unwritten map[session.ID]*unwritten
}

// A flight is a refresh under way in this process. The requests of its session
// share it, and never those of another one (CVE-2025-67490).
type flight struct {
	refused bool          // the API has refused the current token
	errand  *Errand       // nil for a refresh of the session's own token
	done    chan struct{} // closed when the next fields are set
	session *session.Session
	token   session.RouteToken // of the errand
	err     error
}

// A hold remembers that a session's refresh has failed, or that the API has refused its token.
type hold struct {
	obtained time.Time // of the tokens that until, failures and refused are about
	until    time.Time // no refresh before
	failures int       // in succession
	accepted bool      // the API has accepted the token
	refused  bool      // the API refuses the token, and no refresh has followed yet
	// later is until when a due and valid token is not refreshed: another node
	// does it, or the store has failed.
	later time.Time
	// spent is when a refusal by the API last caused a refresh of any token.
	spent time.Time
	kept  time.Time // when this was last written
}

// New returns a Refresher.
func New(cfg Config) *Refresher {
	r := &Refresher{
		cfg: cfg,
		breaker: breaker{now: cfg.Now, outage: outage.New(outage.Config{
			Name: "token endpoint", Logger: cfg.Logger, Now: cfg.Now, Settle: settle,
		})},
		results:  metrics.NewCounter(cfg.MeterProvider, metrics.Refreshes),
		waits:    metrics.NewHistogram(cfg.MeterProvider, metrics.RefreshWait),
		refusals: cfg.Sessions.Notes("refused"),
		flights:  map[session.ID]*flight{},
		holds:    map[session.ID]hold{},
		operator: map[string]time.Time{},

		unwritten: map[session.ID]*unwritten{},
	}
	metrics.ObserveGauge(cfg.MeterProvider, metrics.BreakerOpen, func() (float64, bool) { return metrics.Bool(r.breaker.isOpen()) })
	return r
}

// Fresh returns the session with a valid access token. While the current one is
// valid, no request waits: a due refresh runs in the background.
// [session.ErrNotFound] means that the session is over, an *[Unavailable] that
// the provider issues no token, any other error that the store does not answer.
func (r *Refresher) Fresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	t := s.Data.Tokens
	if t.Refresh == "" {
		return s, nil
	}
	switch {
	case r.Expired(t):
		return r.await(ctx, s, false)
	case r.isRefused(s):
		fresh, err := r.await(ctx, s, true)
		if _, ok := errors.AsType[*Unavailable](err); ok {
			return s, nil // the API may take it elsewhere
		}
		return fresh, err
	case r.due(t) && !r.isLater(s):
		_, _ = r.begin(ctx, s, false, nil) // if it is held back, the token is still valid
	}
	return s, nil
}

// WaitForRefresh refreshes an access token that the API has refused, and returns
// the session with the new one. If a refusal has caused a refresh a short while
// ago, the token stays the same. The errors are those of Fresh.
func (r *Refresher) WaitForRefresh(ctx context.Context, s *session.Session) (*session.Session, error) {
	return r.await(ctx, s, true)
}

// Refused records that the API has refused the session's access token. It is due from then on.
func (r *Refresher) Refused(s *session.Session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hold(s)
	if r.mayRenew(s, h) {
		h.refused = true
		r.keep(s.ID, h)
	}
}

// Accepted records that the API has accepted the session's access token.
func (r *Refresher) Accepted(s *session.Session) {
	if !r.justGiven(s) { // it makes no difference
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.hold(s); !h.accepted {
		h.accepted = true
		r.keep(s.ID, h)
	}
}

// justGiven reports whether a refresh has obtained the token a short while ago.
func (r *Refresher) justGiven(s *session.Session) bool {
	obtained := s.Data.Tokens.ObtainedAt
	return obtained.After(s.CreatedAt) && r.cfg.Now().Sub(obtained) < refusalPause
}

// Renewable reports whether a token that the API refuses may be refreshed: not if
// that was tried a short while ago and is over.
func (r *Refresher) Renewable(s *session.Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[s.ID]
	return f != nil && f.refused || r.mayRenew(s, r.hold(s))
}

func (r *Refresher) mayRenew(s *session.Session, h hold) bool {
	t, now := s.Data.Tokens, r.cfg.Now()
	return t.Refresh != "" && now.Sub(h.spent) >= refusalPause &&
		(!r.justGiven(s) || h.accepted || now.Sub(t.ObtainedAt) >= provenAge)
}

// Expired reports whether an access token has expired. One without a known
// lifetime is valid until the API refuses it.
func (r *Refresher) Expired(t session.Tokens) bool {
	return !t.ExpiresAt.IsZero() && !r.cfg.Now().Before(t.ExpiresAt)
}

// due reports whether a token expires soon: in 60 s, or after half of a lifetime
// shorter than two minutes.
func (r *Refresher) due(t session.Tokens) bool {
	if t.ExpiresAt.IsZero() {
		return false
	}
	due := t.ExpiresAt.Add(-lead)
	if half := t.ObtainedAt.Add(t.ExpiresAt.Sub(t.ObtainedAt) / 2); half.After(due) {
		due = half
	}
	return !r.cfg.Now().Before(due)
}

// isRefused reports whether the API has refused the session's token, or a refresh
// because of a refusal is under way.
func (r *Refresher) isRefused(s *session.Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	f := r.flights[s.ID]
	return r.hold(s).refused || f != nil && f.refused
}

func (r *Refresher) isLater(s *session.Session) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cfg.Now().Before(r.hold(s).later)
}

// await waits for the session with a new token. The request waits for a limited
// time; the refresh goes on.
func (r *Refresher) await(ctx context.Context, s *session.Session, refused bool) (_ *session.Session, err error) {
	defer func(start time.Time) { r.waits.Since(ctx, start, waitResult(err)) }(time.Now())
	ctx, span := r.cfg.Tracer.Start(ctx, tracing.AwaitRefresh, trace.SpanKindInternal)
	defer func() { endSpan(span, err) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		f, wait := r.begin(ctx, s, refused, nil)
		if f == nil {
			return nil, &Unavailable{wait}
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			return nil, &Unavailable{}
		}
		switch {
		case errors.Is(f.err, errElsewhere):
		case f.errand == nil, errors.Is(f.err, session.ErrNotFound):
			return f.session, f.err
		case f.session == nil:
		case f.session.Data.Tokens.Access != s.Data.Tokens.Access: // refreshed elsewhere meanwhile
			return f.session, nil
		default: // it may have another refresh token
			s = f.session
		}
	}
}

// endSpan ends the span of a refresh, or of the wait for one. That the session is over, or
// that another node refreshes it, is no failure.
func endSpan(span trace.Span, err error) {
	if err != nil && !errors.Is(err, session.ErrNotFound) && !errors.Is(err, errElsewhere) {
		kind := tracing.Kind(err)
		if _, ok := errors.AsType[*Unavailable](err); ok {
			kind = "unavailable"
		}
		tracing.Fail(span, kind)
	}
	span.End()
}

// waitResult is what a request that has waited got, in metrics.
func waitResult(err error) string {
	if err == nil {
		return metrics.WaitOK
	}
	if errors.Is(err, session.ErrNotFound) {
		return metrics.WaitEnded
	}
	if _, ok := errors.AsType[*Unavailable](err); ok {
		return metrics.WaitUnavailable
	}
	return metrics.WaitError
}

// errElsewhere ends a background refresh: another node has the lock, and the token is valid.
var errElsewhere = errors.New("another node refreshes")

// begin starts a refresh or an errand, or joins the one under way for this session.
// While they are held back it returns no flight but the time to wait.
func (r *Refresher) begin(ctx context.Context, s *session.Session, refused bool, e *Errand) (*flight, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if f := r.flights[s.ID]; f != nil {
		return f, 0
	}
	h, now := r.hold(s), r.cfg.Now()
	late := r.unwritten[s.ID]
	if late != nil {
		refused, e = false, nil // there is another token already
	} else if wait := max(h.until.Sub(now), r.breaker.wouldHold()); wait > 0 {
		return nil, wait
	}
	f := &flight{refused: refused, errand: e, done: make(chan struct{})}
	claim := refused && r.mayRenew(s, h)
	if claim {
		h.spent, h.refused = now, false
		r.keep(s.ID, h)
	}
	r.flights[s.ID] = f
	// When the browser closes the connection, a refresh token that the provider
	// has just rotated must not be lost.
	name := tracing.Refresh
	if e != nil {
		name = tracing.RouteToken
	}
	ctx, span := r.cfg.Tracer.Start(context.WithoutCancel(ctx), name, trace.SpanKindInternal)
	r.cfg.Work.Go(func() {
		defer func() { endSpan(span, f.err) }()
		switch {
		case late != nil:
			f.session, f.err = r.writeLate(ctx, late)
		case e != nil:
			f.session, f.token, f.err = r.errand(ctx, s, e)
		case claim:
			f.session, f.err = r.renewRefused(ctx, s)
		case refused: // a refusal has caused a refresh a short while ago
			f.session, f.err = r.cfg.Sessions.Reload(ctx, s)
		default:
			f.session, f.err = r.refresh(ctx, s, false)
		}
		r.mu.Lock()
		delete(r.flights, s.ID)
		if f.err != nil && e == nil {
			h := r.hold(s)
			h.later = r.cfg.Now().Add(pause)
			r.keep(s.ID, h)
		}
		r.mu.Unlock()
		close(f.done)
	})
	return f, 0
}

// renewRefused refreshes a token that the API has refused, unless another node
// has done so a short while ago.
func (r *Refresher) renewRefused(ctx context.Context, s *session.Session) (*session.Session, error) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	first, err := r.refusals.Add(bounded, string(s.ID[:]), nil, r.cfg.Now().Add(refusalPause))
	switch {
	case err != nil:
		return nil, err
	case !first:
		return r.cfg.Sessions.Reload(bounded, s)
	}
	// The claim "iat" has whole seconds, so that a subject's denial includes the
	// tokens of its own second: after a login that began right after the denial,
	// another token of that second would be refused as well.
	if rest := s.Data.Tokens.ObtainedAt.Truncate(time.Second).Add(time.Second).Sub(r.cfg.Now()); rest > 0 {
		time.Sleep(rest)
	}
	fresh, err := r.refresh(ctx, s, true)
	if _, ok := errors.AsType[*Unavailable](err); ok { // it does not count
		r.mu.Lock()
		h := r.hold(s)
		h.spent = time.Time{}
		r.keep(s.ID, h)
		r.mu.Unlock()
		again, cancel := context.WithTimeout(ctx, storeTimeout)
		defer cancel()
		if _, err := r.refusals.Take(again, string(s.ID[:])); err != nil && !errors.Is(err, session.ErrNotFound) {
			r.cfg.Logger.DebugContext(ctx, "note of a refusal not removed", "session", s, "err", err)
		}
	}
	return fresh, err
}

// hold returns the hold of a session. The caller holds the mutex.
func (r *Refresher) hold(s *session.Session) hold {
	h := r.holds[s.ID]
	if !h.obtained.Equal(s.Data.Tokens.ObtainedAt) { // the session has other tokens now
		h = hold{obtained: s.Data.Tokens.ObtainedAt, spent: h.spent}
	}
	return h
}

// holdBack delays a session's refreshes by the duration for the number of failures in succession.
func (r *Refresher) holdBack(s *session.Session, duration func(failures int) time.Duration) (time.Duration, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	h := r.hold(s)
	h.failures++
	wait := duration(h.failures)
	h.until = r.cfg.Now().Add(wait)
	r.keep(s.ID, h)
	return wait, h.failures
}

// keep stores the hold of a session, and removes old ones. The caller holds the mutex.
func (r *Refresher) keep(id session.ID, h hold) {
	now := r.cfg.Now()
	h.kept = now
	r.holds[id] = h
	if now.Sub(r.swept) < forget/2 {
		return
	}
	r.swept = now
	for id, h := range r.holds {
		if now.Sub(h.kept) > forget && now.After(h.until) {
			delete(r.holds, id)
		}
	}
}
