package devidp

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
)

// logoutEvent is the member of the events claim of a logout token.
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// logouts ends sessions: at the end_session endpoint, and with logout tokens at
// the clients that took part in them.
type logouts struct {
	*realm
	http *http.Client

	mu     sync.Mutex
	closed bool
	calls  sync.WaitGroup
	ctx    context.Context // of back-channel calls: they outlive the request that caused them
	cancel context.CancelFunc
}

func newLogouts(rl *realm, client *http.Client) *logouts {
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	l := &logouts{realm: rl, http: client}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// endSession is RP-Initiated Logout. With a valid id_token_hint for the signed-in
// user it ends the session at once. Without one it asks, since any page can send a
// browser here.
func (l *logouts) endSession(w http.ResponseWriter, r *http.Request) {
	req, err := op.ParseEndSessionRequest(r, l.decoder)
	if err != nil {
		l.pages.fail(w, r, "The application’s sign-out request could not be read.")
		return
	}
	hint := l.verifyHint(r.Context(), req.IdTokenHint)
	if hint != nil {
		if req.ClientID != "" && req.ClientID != hint.AuthorizedParty {
			l.pages.fail(w, r, "The application’s sign-out request names one client_id and carries the ID token of another.")
			return
		}
		req.ClientID = hint.AuthorizedParty
	}
	next, ok := l.afterLogout(req.ClientID, req.PostLogoutRedirectURI, req.State)
	if !ok {
		l.pages.fail(w, r, "The application asked to be returned to an address that is not registered for it. Its post_logout_redirect_uri must equal a configured one, byte for byte.")
		return
	}
	current := l.session(r)
	switch {
	case hint != nil && (current == nil || current.sid == hint.SessionID || current.user.Subject == hint.Subject):
		// The session of the hint may be that of another browser, or that of this one
		// without its cookie (a POST from another site).
		l.end(hint.SessionID)
		if current != nil {
			l.end(current.sid)
		}
		l.cookie.set(w, "")
		l.signedOut(w, r, next)
	case current != nil:
		data := &logoutPage{User: current.user, ClientID: req.ClientID, PostLogoutRedirectURI: req.PostLogoutRedirectURI, State: req.State}
		l.pages.write(w, r, http.StatusOK, "logout", []string{next}, data)
	default:
		l.signedOut(w, r, next)
	}
}

// confirmLogout handles the form with which the user confirms the logout.
func (l *logouts) confirmLogout(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		l.pages.fail(w, r, "The form could not be read.")
		return
	}
	next, ok := l.afterLogout(r.PostForm.Get("client_id"), r.PostForm.Get("post_logout_redirect_uri"), r.PostForm.Get("state"))
	if !ok {
		l.pages.fail(w, r, "The address to return to is not registered.")
		return
	}
	if current := l.session(r); current != nil {
		l.end(current.sid)
	}
	l.cookie.set(w, "")
	l.signedOut(w, r, next)
}

// verifyHint returns the claims of an ID token, which may have expired; nil if it is
// invalid. An ID token from before a restart is invalid, so the user is asked.
func (l *logouts) verifyHint(ctx context.Context, hint string) *oidc.IDTokenClaims {
	if hint == "" {
		return nil
	}
	claims, err := op.VerifyIDTokenHint[*oidc.IDTokenClaims](ctx, hint, l.hints())
	if expired := (op.IDTokenHintExpiredError{}); err != nil && !errors.As(err, &expired) {
		l.log.DebugContext(ctx, "id_token_hint is not an ID token of this run of the provider")
		return nil
	}
	return claims
}

// afterLogout returns the address to redirect to after logout; "" for none. It must
// be registered for the client, or for any client if there is no client id, since
// the hint may be from before a restart.
func (l *logouts) afterLogout(clientID, uri, state string) (next string, ok bool) {
	clients := l.clients
	if clientID != "" {
		c := l.clients.find(clientID)
		if c == nil {
			return "", false
		}
		clients = []*registration{c}
	}
	if uri == "" {
		return "", true
	}
	for _, c := range clients {
		if op.ValidateEndSessionPostLogoutRedirectURI(uri, c) != nil {
			continue
		}
		u, err := url.Parse(uri)
		if err != nil {
			return "", false
		}
		if state != "" {
			q := u.Query()
			q.Set("state", state)
			u.RawQuery = q.Encode()
		}
		return u.String(), true
	}
	return "", false
}

func (l *logouts) signedOut(w http.ResponseWriter, r *http.Request, next string) {
	if next != "" {
		w.Header().Set("Cache-Control", "no-store")
		http.Redirect(w, r, next, http.StatusSeeOther)
		return
	}
	l.pages.message(w, r, http.StatusOK, "You are signed out",
		"Your session at the development provider has ended, and its applications have been notified.")
}

// end ends a session and notifies its clients. Refresh tokens with offline_access
// stay valid (Back-Channel Logout §2.7).
func (l *logouts) end(sid string) {
	if ses := l.state.endSession(sid); ses != nil {
		l.notify(ses)
	}
}

// notify sends a logout token to each client of an ended session, without waiting
// for the responses. It returns a channel for the result of each. It takes ownership
// of ses.
func (l *logouts) notify(ses *session) (results []<-chan error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	for _, c := range ses.clients {
		if c.BackchannelLogoutURI == "" {
			continue
		}
		result := make(chan error, 1)
		results = append(results, result)
		l.calls.Go(func() {
			err := l.sendLogoutToken(c, ses)
			if err != nil {
				l.log.Warn("back-channel logout failed", "client_id", c.ID, "err", err)
				err = fmt.Errorf("notify the client %s of the logout of %s: %w", c.ID, ses.user.Key, err)
			}
			result <- err
		})
	}
	return results
}

func (l *logouts) sendLogoutToken(c *registration, ses *session) error {
	now := l.now()
	claims := &oidc.LogoutTokenClaims{
		Issuer:     l.issuer,
		Subject:    ses.user.Subject,
		Audience:   oidc.Audience{c.ID},
		IssuedAt:   oidc.FromTime(now),
		Expiration: oidc.FromTime(now.Add(logoutTokenLifetime)),
		JWTID:      newSecret(),
		Events:     map[string]any{logoutEvent: struct{}{}},
		SessionID:  ses.sid,
	}
	token, err := l.signing.sign(claims, typeLogoutToken)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(l.ctx, logoutCallTimeout)
	defer cancel()
	body := strings.NewReader(url.Values{"logout_token": {token}}.Encode())
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.BackchannelLogoutURI, body)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNoContent {
		return errors.New("the client responded with status " + resp.Status)
	}
	return nil
}

// shutdown is Provider.Shutdown.
func (l *logouts) shutdown(ctx context.Context) error {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	done := make(chan struct{})
	go func() {
		l.calls.Wait()
		close(done)
	}()
	defer l.cancel()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		l.cancel()
		<-done
		return ctx.Err()
	}
}
