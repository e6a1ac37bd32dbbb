package refresh

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/claims"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// refresh refreshes a session's tokens, or waits for the node that does.
func (r *Refresher) refresh(ctx context.Context, stale *session.Session, refused bool) (*session.Session, error) {
	good := !refused && !r.Expired(stale.Data.Tokens)
	l, current, err := r.acquire(ctx, stale, good, good, func(s *session.Session) bool { return changed(stale, s) })
	switch {
	case errors.Is(err, errElsewhere):
		r.results.Add(metrics.RefreshElsewhere)
		return nil, err
	case err != nil:
		if _, ok := errors.AsType[*Unavailable](err); !ok {
			r.failedStore(err)
		}
		return nil, err
	case l == nil:
		r.results.Add(metrics.RefreshElsewhere)
		return r.settled(ctx, current)
	}
	defer l.stop()
	return r.locked(ctx, stale, l, good)
}

// acquire takes the lock of a session, or returns the session once another node has
// done the work. With giveUp it returns errElsewhere while the current token is valid
// and the lock is held. good means that the current token is valid.
func (r *Refresher) acquire(ctx context.Context, stale *session.Session, good, giveUp bool, done func(*session.Session) bool) (*lock, *session.Session, error) {
	waiting, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	lease := lockLease
	if good && !stale.Data.Tokens.ExpiresAt.IsZero() {
		// If this process is killed, the refresh token may be spent: no other
		// node sends it while the access token is valid.
		lease = max(lease, stale.Data.Tokens.ExpiresAt.Sub(r.cfg.Now()))
	}
	for {
		fence, err := r.cfg.Sessions.Lock(waiting, stale, lease)
		switch {
		case err == nil:
			l := &lock{r: r, s: stale, fence: fence, until: r.cfg.Now().Add(lease)}
			l.keep(ctx)
			return l, nil, nil
		case errors.Is(err, session.ErrLocked) && giveUp && !r.Expired(stale.Data.Tokens):
			return nil, nil, errElsewhere
		case errors.Is(err, session.ErrLocked):
		case waiting.Err() != nil:
			return nil, nil, &Unavailable{}
		default:
			return nil, nil, err
		}
		select {
		case <-waiting.Done():
			return nil, nil, &Unavailable{}
		case <-time.After(lockPoll):
		}
		current, err := r.cfg.Sessions.Reload(waiting, stale)
		switch {
		case err != nil && waiting.Err() != nil:
			return nil, nil, &Unavailable{}
		case err != nil:
			return nil, nil, err
		case done(current):
			return nil, current, nil
		}
	}
}

// failedStore counts a refresh for which the session store has failed. A session that has
// ended is no failure.
func (r *Refresher) failedStore(err error) {
	if !errors.Is(err, session.ErrNotFound) {
		r.results.Add(metrics.RefreshStore)
	}
}

// changed reports whether the tokens of stale were refreshed, or must not be any more.
func changed(stale, current *session.Session) bool {
	return current.Data.Tokens.Access != stale.Data.Tokens.Access || current.Data.Tokens.Refresh == ""
}

// settled returns a session that another node has refreshed, or one without a
// refresh token, which ends with its access token.
func (r *Refresher) settled(ctx context.Context, s *session.Session) (*session.Session, error) {
	if s.Data.Tokens.Refresh != "" || !r.Expired(s.Data.Tokens) {
		return s, nil
	}
	return nil, r.end(ctx, s, session.ReasonExpired, audit.Expired)
}

// locked refreshes with the session's lock, and releases it. good means that the
// current token is valid.
func (r *Refresher) locked(ctx context.Context, stale *session.Session, l *lock, good bool) (*session.Session, error) {
	s, err := r.reload(ctx, stale)
	if err != nil {
		r.failedStore(err)
		l.release(ctx)
		return nil, err
	}
	if changed(stale, s) { // before the lock was acquired
		r.results.Add(metrics.RefreshElsewhere)
		l.release(ctx)
		return r.settled(ctx, s)
	}
	probe, wait := r.breaker.begin()
	if wait > 0 {
		r.results.Add(metrics.RefreshHeldBack)
		l.release(ctx)
		return nil, &Unavailable{wait}
	}
	tokens, err := r.cfg.Party.Refresh(ctx, s.Data.Tokens.Refresh)
	if err != nil {
		return r.failed(ctx, s, l, err, probe, good)
	}
	r.breaker.answered(ctx, probe)
	data, err := r.renewed(ctx, s, tokens)
	if err != nil {
		r.results.Add(metrics.RefreshMismatch)
		r.revoke(ctx, tokens.Refresh)
		return r.over(ctx, s, l, err, audit.Mismatch)
	}
	return r.write(ctx, &unwritten{s: s, fence: l.fence, data: data, granted: tokens.Refresh})
}

// failed does what the table in docs/login.md says about a failure.
func (r *Refresher) failed(ctx context.Context, s *session.Session, l *lock, cause error, probe, good bool) (*session.Session, error) {
	class, retryAfter := classOf(cause), min(refusalOf(cause).RetryAfter, maxRetryAfter)
	r.results.Add(class.String())
	open := false
	if class == Transient || class == Unknown {
		open = r.breaker.failed(ctx, probe, s.ID, retryAfter, cause)
	} else {
		r.breaker.answered(ctx, probe)
	}
	switch class {
	case Over:
		r.record(ctx, s, audit.RefreshRefused, audit.GrantEnded)
		return r.over(ctx, s, l, cause, audit.NotRefreshed)
	case User:
		r.record(ctx, s, audit.RefreshRefused, audit.UserNeeded)
		return r.wantsUser(ctx, s, l, cause, good)
	case Operator:
		wait, _ := r.holdBack(s, func(failures int) time.Duration {
			return min(pause<<min(max(0, failures-quickTries), 6), maxBackoff)
		})
		r.logOperator(ctx, s, cause)
		// It is about all sessions, and repeated.
		r.cfg.Audit.RecordSampled(ctx, audit.Event{Action: audit.RefreshRefused, Cause: audit.Configuration, Issuer: s.Issuer})
		l.release(ctx)
		return nil, &Unavailable{wait}
	}
	return nil, r.unanswered(ctx, s, l, class, retryAfter, cause, open, good)
}

// unanswered holds back the refreshes of a session after a failure of class Transient
// or Unknown. open means that the breaker is.
func (r *Refresher) unanswered(ctx context.Context, s *session.Session, l *lock, class Class, retryAfter time.Duration, cause error, open, good bool) error {
	wait, failures := r.holdBack(s, func(failures int) time.Duration {
		switch left := s.Data.Tokens.ExpiresAt.Sub(r.cfg.Now()); {
		case class == Unknown && good && !s.Data.Tokens.ExpiresAt.IsZero():
			return max(left, pause)
		case failures >= manyFailures:
			return max(longPause, retryAfter)
		}
		return max(pause, retryAfter)
	})
	if class == Unknown && good {
		level := slog.LevelInfo
		if open || failures > 1 { // logged before
			level = slog.LevelDebug
		}
		r.cfg.Logger.Log(ctx, level, "refresh not answered; the refresh token is not sent again while the access token is valid",
			"session", s, "wait", wait.Round(time.Microsecond).Seconds(), "err", cause)
		l.holdUntil(ctx, s.Data.Tokens.ExpiresAt)
	} else {
		r.cfg.Logger.DebugContext(ctx, "access token not refreshed", "session", s, "class", class.String(), "err", cause)
		l.release(ctx)
	}
	return &Unavailable{wait}
}

// logOperator logs a failure that an operator has to correct: each error code at
// most once in operatorTick.
func (r *Refresher) logOperator(ctx context.Context, s *session.Session, cause error) {
	code := refusalOf(cause).Code
	r.mu.Lock()
	now, level := r.cfg.Now(), slog.LevelError
	if last, ok := r.operator[code]; ok && now.Sub(last) < operatorTick || !ok && len(r.operator) >= 64 {
		level = slog.LevelDebug
	} else {
		r.operator[code] = now
	}
	r.mu.Unlock()
	r.cfg.Logger.Log(ctx, level, "the provider refuses refreshes: check the setting", "setting", r.cfg.Setting(r.fieldFor(code)),
		"code", code, "session", s, "err", cause)
}

// refusalOf returns the provider's response in an error, a zero one for none.
func refusalOf(err error) rp.Error {
	if refusal, ok := errors.AsType[*rp.Error](err); ok {
		return *refusal
	}
	return rp.Error{}
}

// fieldFor returns the field of bff.Config that an operator checks first after
// an error code of the token endpoint.
func (r *Refresher) fieldFor(code string) string {
	switch code {
	case "invalid_client", "unauthorized_client": // Keycloak answers the latter to a wrong secret
		if r.cfg.Party.Client().UsesKey() {
			return "Client.Key"
		}
		return "Client.Secret"
	case "invalid_scope", "unsupported_grant_type":
		return "Login.Scope"
	case "invalid_target", "invalid_request":
		return "Login.Audience"
	}
	return "Client.ID"
}

// revoke revokes a refresh token that no session has any more.
func (r *Refresher) revoke(ctx context.Context, refreshToken string) {
	if err := r.cfg.Party.Revoke(ctx, refreshToken); err != nil {
		r.cfg.Logger.WarnContext(ctx, "refresh token not revoked", "err", err)
	}
}

// over ends a session that the provider does not refresh, unless another node has
// refreshed it: then the token that was sent was not the newest.
func (r *Refresher) over(ctx context.Context, s *session.Session, l *lock, cause error, audited audit.Cause) (*session.Session, error) {
	current, err := r.reload(ctx, s)
	if err != nil || current.Data.Tokens.Refresh != s.Data.Tokens.Refresh {
		l.release(ctx)
		return current, err
	}
	r.cfg.Logger.InfoContext(ctx, "session ended: the provider does not refresh it any more", "session", s, "err", cause)
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return nil, r.end(bounded, s, session.ReasonProvider, audited)
}

// end ends a session, which may have ended already, and returns session.ErrNotFound, or the
// error of the store.
func (r *Refresher) end(ctx context.Context, s *session.Session, why session.Reason, cause audit.Cause) error {
	err := r.cfg.Sessions.EndByID(ctx, s.ID, why)
	if err == nil {
		r.record(ctx, s, audit.SessionEnded, cause)
		err = session.ErrNotFound
	}
	return err
}

// record records an event about a session.
func (r *Refresher) record(ctx context.Context, s *session.Session, action audit.Action, cause audit.Cause) {
	r.cfg.Audit.Record(ctx, audit.Event{
		Action: action, Cause: cause, Issuer: s.Issuer, Subject: s.Subject, Session: s.ID.String(),
	})
}

// wantsUser removes the refresh token, so that the session ends with its access
// token. Then the user signs in again and answers the provider's questions.
func (r *Refresher) wantsUser(ctx context.Context, s *session.Session, l *lock, cause error, good bool) (*session.Session, error) {
	if !good || s.Data.Tokens.ExpiresAt.IsZero() {
		current, err := r.over(ctx, s, l, cause, audit.NotRefreshed)
		if errors.Is(err, session.ErrNotFound) {
			r.revoke(ctx, s.Data.Tokens.Refresh)
		}
		return current, err
	}
	data := s.Data
	data.Tokens.Refresh = ""
	written, err := r.write(ctx, &unwritten{s: s, fence: l.fence, data: data})
	if err != nil {
		return nil, err
	}
	r.cfg.Logger.InfoContext(ctx, "session ends with its access token: the provider requires a login", "session", s,
		"code", refusalOf(cause).Code, "expires", s.Data.Tokens.ExpiresAt, "err", cause)
	r.cfg.RevokeAt(ctx, s.Data.Tokens.Refresh, s.Data.Tokens.ExpiresAt)
	return written, nil
}

func (r *Refresher) reload(ctx context.Context, s *session.Session) (*session.Session, error) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	return r.cfg.Sessions.Reload(bounded, s)
}

// renewed returns a session's data with new tokens. An error means that the ID
// token is about another user or another login (OpenID Connect Core §12.2), so
// that the response must not be used.
func (r *Refresher) renewed(ctx context.Context, s *session.Session, tokens session.Tokens) (session.Data, error) {
	old := s.Data.Tokens
	data := session.Data{Claims: s.Data.Claims, Tokens: tokens, Routes: s.Data.Routes}
	data.Tokens.Refresh = cmp.Or(tokens.Refresh, old.Refresh)
	data.Tokens.Scope = cmp.Or(tokens.Scope, old.Scope)
	data.Tokens.ID = cmp.Or(tokens.ID, old.ID)
	if tokens.ID == "" {
		return data, nil
	}
	checks := token.IDChecks{Subject: s.Subject, AccessToken: tokens.Access}
	checks.Nonce, _ = s.Data.Claims["nonce"].(string)
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	id, err := r.cfg.Party.VerifyID(bounded, tokens.ID, checks)
	switch {
	case errors.Is(err, oidc.ErrUnavailable), errors.Is(err, oidc.ErrUnknownKey):
		r.cfg.Logger.InfoContext(ctx, "new ID token not verified; the old one is kept", "session", s, "err", err)
		data.Tokens.ID = old.ID
		return data, nil
	case err != nil:
		return session.Data{}, fmt.Errorf("ID token: %w", err)
	}
	fresh := id.Map()
	// Amazon Cognito and Azure AD B2C set it to the time of the refresh, against §12.2.
	if at, ok := s.Data.Claims["auth_time"]; ok {
		if changed, ok := fresh["auth_time"]; ok && fmt.Sprint(changed) != fmt.Sprint(at) {
			r.cfg.Logger.InfoContext(ctx, "the refreshed ID token has another auth_time; the login's is kept", "session", s)
		}
		fresh["auth_time"] = at
	} else {
		delete(fresh, "auth_time")
	}
	data.Claims = claims.Refreshed(s.Data.Claims, fresh) // including those from userinfo
	return data, nil
}
