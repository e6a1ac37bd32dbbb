package bff

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

// protocolClaims are about the ID token, not about the person. nextjs-auth0
// leaves out the same ones, and pages written for it know no others.
var protocolClaims = []string{
	"aud", "iss", "iat", "exp", "nbf", "nonce", "azp", "auth_time", "s_hash", "at_hash", "c_hash",
}

// me answers with the person's claims, or 204 when nobody is signed in, as
// nextjs-auth0's useUser expects.
func (b *BFF) me(w http.ResponseWriter, r *http.Request) {
	s, err := b.used(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
	default:
		respond.JSON(w, http.StatusOK, personal(s))
	}
}

// timeLeft answers when the session ends, without extending it.
func (b *BFF) timeLeft(w http.ResponseWriter, r *http.Request) {
	s, err := b.current(r)
	switch {
	case errors.Is(err, session.ErrNotFound):
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(http.StatusNoContent)
	case err != nil:
		b.respond.StoreUnavailable(w, r, err)
	default:
		respond.JSON(w, http.StatusOK, b.times(s))
	}
}

// used loads a request's session and notes that it is in use. A store that
// does not take the note fails no request.
func (b *BFF) used(r *http.Request) (*session.Session, error) {
	s, err := b.current(r)
	if err != nil || b.touches.paused() {
		return s, err
	}
	err = b.sessions.Touch(r.Context(), s)
	switch {
	case errors.Is(err, session.ErrNotFound):
		return nil, err
	case err != nil && r.Context().Err() == nil:
		if ok, held := b.touches.failed(); ok {
			b.logger.WarnContext(r.Context(), "use of sessions is not recorded; they may reach the idle timeout early",
				"err", err, "suppressed", held)
		}
	}
	return s, nil
}

// touchPause is how long after a failure no use is recorded, so that requests
// do not wait for a store that takes no writes.
const touchPause = time.Second

// touchFailures is what is known of a store that does not record use.
type touchFailures struct {
	until atomic.Int64 // Unix nanoseconds
	log   *throttle.Log
}

func (u *touchFailures) paused() bool { return time.Now().UnixNano() < u.until.Load() }

// failed begins a pause, and reports whether to log it and how many were not
// logged.
func (u *touchFailures) failed() (ok bool, held int) {
	u.until.Store(time.Now().Add(touchPause).UnixNano())
	return u.log.Next()
}

// current loads a request's session and extends nothing. A session whose
// access token has run out and cannot be renewed is over: the person has to
// sign in again for anything to work.
func (b *BFF) current(r *http.Request) (*session.Session, error) {
	s, err := b.sessions.Load(r.Context(), r)
	if err != nil {
		return nil, err
	}
	if s.Data.Tokens.Refresh == "" && b.refresher.Expired(s.Data.Tokens) {
		// Best effort: it is over whether the store takes that or not.
		if err := b.sessions.End(r.Context(), s, session.ReasonExpired); err != nil {
			b.logger.DebugContext(r.Context(), "an expired session was not removed", "session", s, "err", err)
		}
		return nil, session.ErrNotFound
	}
	return s, nil
}

func personal(s *session.Session) map[string]any {
	claims := maps.Clone(s.Data.Claims)
	for _, name := range protocolClaims {
		delete(claims, name)
	}
	return claims
}

// pageUser is who the embedded pages show: the session that the front end's
// handler has put into the context.
func pageUser(r *http.Request) (web.User, bool) {
	s, ok := sessionFrom(r.Context())
	if !ok {
		return web.User{}, false
	}
	claims := personal(s)
	text := func(name string) string {
		value, _ := claims[name].(string)
		return value
	}
	idle, latest := s.Ends()
	user := web.User{Name: text("name"), Email: text("email"), Subject: s.Subject, ExpiresAt: latest, IdleExpiresAt: idle}
	for _, name := range slices.Sorted(maps.Keys(claims)) {
		user.Claims = append(user.Claims, web.Claim{Name: name, Value: claimText(claims[name])})
	}
	return user, true
}

func claimText(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case map[string]any, []any:
		if text, err := json.Marshal(v); err == nil {
			return string(text)
		}
	}
	return fmt.Sprint(v)
}
