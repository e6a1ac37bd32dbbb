package bff

import (
	"errors"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/revocation"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// maxLogoutToken bounds the body of a back-channel logout, in bytes.
const maxLogoutToken = 80 << 10

// logoutSkew is how long after its expiry a logout token may still pass, and
// is remembered: the verifier forgives a minute.
const logoutSkew = 2 * time.Minute

// backchannelLogout ends sessions at the provider's word (OpenID Connect
// Back-Channel Logout). The logout token is the whole authorisation.
func (b *BFF) backchannelLogout(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-store")
	refuse := func(cause error) {
		b.logger.WarnContext(r.Context(), "back-channel logout refused", "cause", cause)
		respond.JSON(w, http.StatusBadRequest, map[string]string{
			"error": "invalid_request", "error_description": "the logout token was not accepted",
		})
	}
	if err := readForm(w, r, maxLogoutToken); err != nil {
		refuse(errors.New("the body is no form"))
		return
	}
	values := r.PostForm["logout_token"]
	if len(values) != 1 {
		refuse(errors.New("the body has not exactly one logout_token"))
		return
	}
	claims, err := b.logouts.Verify(r.Context(), values[0])
	switch {
	case errors.Is(err, oidc.ErrUnavailable):
		b.logger.WarnContext(r.Context(), "logout token not verified: provider unavailable", "cause", err)
		w.Header().Set("Retry-After", respond.RetryAfter)
		respond.Error(w, http.StatusServiceUnavailable, "the logout token cannot be verified at the moment")
		return
	case err != nil:
		refuse(err)
		return
	}
	used := claims.Issuer + "\x00" + claims.ID
	switch _, err := b.usedTokens.Get(r.Context(), used); {
	case err == nil:
		refuse(errors.New("the logout token was used before"))
		return
	case !errors.Is(err, session.ErrNotFound):
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	ended, err := b.revoker.Revoke(r.Context(), revocation.Target{
		Issuer: claims.Issuer, Subject: claims.Subject, SessionID: claims.SessionID, DecidedAt: claims.IssuedAt,
	}, session.ReasonProvider)
	if err == nil {
		// Last, so that the provider may try again what was not done, also where
		// this process is killed on the way.
		_, err = b.usedTokens.Add(r.Context(), used, nil, claims.Expiry.Add(logoutSkew))
	}
	if err != nil {
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	b.logger.InfoContext(r.Context(), "signed out by the provider", "sessions", len(ended))
	w.WriteHeader(http.StatusOK)
}
