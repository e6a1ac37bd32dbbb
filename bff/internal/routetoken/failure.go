package routetoken

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/refresh"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

// An Error means that there is no token for a route at the moment. The session
// goes on.
type Error struct {
	// Status is that of the answer to the browser: 403 if the provider does not
	// give this user such a token, 502 if the configuration has to be corrected,
	// 503 for everything that passes.
	Status int
	// RetryAfter is the time until the next attempt, 0 if it is not known.
	RetryAfter time.Duration
	// Public is for the browser, and says nothing of the cause.
	Public string
	// Err is for the log.
	Err error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

const (
	// After a failure of class Transient nothing is requested for pause, after
	// others for longPause. Each failure in succession doubles that, up to maxPause
	// and maxLongPause.
	pause        = time.Second
	maxPause     = 8 * time.Second
	longPause    = 5 * time.Second
	maxLongPause = time.Minute
	// maxRetryAfter bounds the time that the provider demands.
	maxRetryAfter = 5 * time.Minute
	// operatorTick is the time between two log lines at error level for one cause.
	operatorTick = time.Minute
)

// A hold remembers that there is no token.
type hold struct {
	failures int // in succession
	until    time.Time
	err      *Error
}

// blocks returns the error for a request within the hold, nil after it.
func (h *hold) blocks(now time.Time) error {
	wait := h.until.Sub(now)
	if h.err == nil || wait <= 0 {
		return nil
	}
	e := *h.err
	e.RetryAfter = wait
	return &e
}

// after returns the hold after another failure. Errors that are not about the token
// hold nothing back.
func (h hold) after(err error, now time.Time) hold {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return hold{}
	}
	first, most := longPause, maxLongPause
	if e.Status == http.StatusServiceUnavailable {
		first, most = pause, maxPause
	}
	wait := max(min(first<<min(h.failures, 10), most), min(e.RetryAfter, maxRetryAfter))
	return hold{h.failures + 1, now.Add(wait), e}
}

// failure counts and logs a failed request, and returns the error for the browser. The
// error of a request is an *[Error], session.ErrNotFound, or one of the session store.
func (r *requester) failure(ctx context.Context, s *session.Session, err error) error {
	unavailable, held := errors.AsType[*refresh.Unavailable](err)
	refusal, refused := errors.AsType[*refresh.Refusal](err)
	switch {
	case errors.Is(err, session.ErrNotFound):
		r.count(metrics.RefreshOver)
		return err
	case held:
		r.count(metrics.RefreshHeldBack)
		return transient(unavailable.RetryAfter, err)
	case errors.Is(err, refresh.ErrNoRefreshToken):
		r.count(metrics.RefreshOperator)
		r.tell(ctx, s, "grant", "no refresh token", "let the provider issue refresh tokens to this client, with offline_access in "+
			r.cfg.Setting("Login.Scope")+"; or obtain the token by grant: exchange", err)
		return &Error{Status: http.StatusBadGateway, Public: "this part of the application needs a sign-in that can be renewed: sign in again", Err: err}
	case !refused:
		r.count(metrics.RefreshStore)
		return err
	}
	switch refusal.Class {
	case refresh.Transient, refresh.Unknown:
		r.count(refusal.Class.String())
		r.cfg.Logger.DebugContext(ctx, "no token for a route", "route", r.route.Path, "class", refusal.Class.String(), "err", err)
		return transient(refusal.RetryAfter, err)
	case refresh.User:
		r.count(metrics.RefreshUser)
		r.cfg.Logger.InfoContext(ctx, "the provider gives a user no token for a route", "route", r.route.Path, "session", s, "err", err)
		return &Error{Status: http.StatusForbidden, Public: "the sign-in service does not give you access to this part of the application", Err: err}
	case 0: // examined and discarded, which is logged
		r.count(metrics.RouteDiscarded)
		if errors.Is(err, rp.ErrUnusable) {
			r.tell(ctx, s, "grant", "unusable", "have the provider issue bearer access tokens", err)
		}
	default:
		r.count(metrics.RefreshOperator)
		r.refusedBy(ctx, s, err)
	}
	return &Error{
		Status: http.StatusBadGateway, Err: err,
		Public: "the sign-in service gives no access to this part of the application; its operator has to correct that",
	}
}

func transient(retryAfter time.Duration, err error) *Error {
	return &Error{
		Status: http.StatusServiceUnavailable, RetryAfter: retryAfter,
		Public: "the sign-in service gives no access to this part of the application at the moment; you are still signed in", Err: err,
	}
}

func (r *requester) count(result string) { r.results.Add(string(r.route.Grant), result) }

// refusedBy logs a refusal that an operator has to correct.
func (r *requester) refusedBy(ctx context.Context, s *session.Session, err error) {
	code, status := "", 0
	if refusal, ok := errors.AsType[*rp.Error](err); ok {
		code, status = refusal.Code, refusal.Status
	}
	setting, remedy := "audience", "register the audience at the provider, and allow this client to request it"
	switch code {
	case "invalid_client":
		if r.route.Grant == Exchange && status == http.StatusBadRequest { // Keycloak: the audience is no client
			remedy = "give an audience that the provider knows (Keycloak: the id of a client), and allow this client to request it"
			break
		}
		setting, remedy = "", "correct the credential of the client"
	case "invalid_scope":
		setting, remedy = "scope", "request a scope that the client, and the login of the user, may have"
	case "unauthorized_client", "unsupported_grant_type":
		setting, remedy = "grant", "allow the client this grant at the provider"
		if r.route.Grant == Client {
			setting = "token"
		}
	case "invalid_request":
		remedy += "; a provider that knows no resource parameter may need " + r.cfg.Setting("Login.OmitResource")
		if r.route.Grant == Exchange {
			remedy += ", and Keycloak the scope that adds the audience"
		}
	case "invalid_grant", "invalid_token": // of the subject token
		setting, remedy = "grant", "let the provider accept access tokens of this client for a token exchange"
	}
	r.tell(ctx, s, setting, code, remedy, err)
}

// tell logs that a route gets no token: each code at most once in operatorTick at error
// level. key is that of the route's element, "" for the client's credential.
func (r *requester) tell(ctx context.Context, s *session.Session, key, code, remedy string, err error) {
	r.mu.Lock()
	now, level := r.cfg.Now(), slog.LevelError
	if last, ok := r.logged[code]; ok && now.Sub(last) < operatorTick || !ok && len(r.logged) >= 64 {
		level = slog.LevelDebug
	} else {
		r.logged[code] = now
	}
	r.mu.Unlock()
	setting := r.route.Setting + "." + key
	if key == "" {
		setting = r.cfg.Setting("Client.Secret")
		if r.cfg.Party.Client().UsesKey() {
			setting = r.cfg.Setting("Client.Key")
		}
	}
	attrs := []any{"route", r.route.Path, "setting", setting, "code", code, "remedy", remedy}
	if s != nil {
		attrs = append(attrs, "session", s)
	}
	r.cfg.Logger.Log(ctx, level, "no token for a route: check the setting", append(attrs, "err", err)...)
}
