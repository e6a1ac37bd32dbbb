package bff

import (
	"cmp"
	"net/http"

	"github.com/gatehouse-dev/gatehouse/bff/internal/origins"
	"github.com/gatehouse-dev/gatehouse/bff/internal/respond"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/origin"
)

// frontchannelLogout ends a session at the word of a page of the provider,
// which shows this address in a frame (OpenID Connect Front-Channel Logout).
// Such a frame is of another site, so that our cookie does not come along: the
// session is found by the provider's name for it. That name is all the
// authority there is. It is not to be guessed, an answer does not tell whether
// there was such a session, and more than the end of that one session comes of
// it neither: access tokens are not denied, nor logins barred, as they are by
// the signed word of the back channel.
func (b *BFF) frontchannelLogout(w http.ResponseWriter, r *http.Request) {
	md, err := b.provider.AwaitMetadata(r.Context())
	if err != nil {
		b.respond.ProviderUnavailable(w, r, err, "/")
		return
	}
	// Of the issuer's origin alone; and whatever this page might come to hold,
	// nothing in it runs.
	w.Header().Set("Content-Security-Policy", "default-src 'none'; frame-ancestors "+cmp.Or(origin.Of(md.Issuer), "'none'"))
	query := r.URL.Query()
	iss, sid := query["iss"], query["sid"]
	switch {
	case len(iss) != 1 || len(sid) != 1 || sid[0] == "":
		respond.Error(w, http.StatusBadRequest, "a front-channel logout names iss and sid, once each")
		return
	case iss[0] != md.Issuer:
		respond.Error(w, http.StatusBadRequest, "this is not the issuer that signs people in here")
		return
	case origins.Prefetch(r): // nobody has signed out yet
		respond.Error(w, http.StatusForbidden, "a logout is not to be fetched beforehand")
		return
	}
	if s, err := b.sessions.Load(r.Context(), r); err == nil && s.Issuer == md.Issuer && s.SID == sid[0] {
		// The cookie came, as where provider and bff are of one site: then this
		// is an ordinary logout, and the provider's part of it is done.
		if err := b.endHere(r.Context(), s, session.ReasonProvider); err != nil {
			b.respond.StoreUnavailable(w, r, err)
			return
		}
		b.pending.release(r.Context(), b.pending.add(r.Context(), s.Data.Tokens.Refresh))
		http.SetCookie(w, b.sessions.ClearCookie())
	}
	// A cookie of another session stays: it was not the provider's to end.
	ids, err := b.sessions.EndBySID(r.Context(), md.Issuer, sid[0])
	if err != nil {
		b.respond.StoreUnavailable(w, r, err)
		return
	}
	b.logger.InfoContext(r.Context(), "signed out by a page of the provider", "sessions", len(ids))
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write([]byte("Signed out.\n")) // a frame that is gone needs no answer
}
