package bff

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/audit"
	"github.com/gatehouse-dev/gatehouse/bff/internal/claims"
	"github.com/gatehouse-dev/gatehouse/bff/internal/login"
	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/web"
	"github.com/gatehouse-dev/gatehouse/internal/hook"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

const (
	// DefaultHookTimeout is used when Hooks.Timeout is 0.
	DefaultHookTimeout = 5 * time.Second
	// maxHookTimeout is how long a browser can be kept waiting at the end of a login.
	maxHookTimeout = 15 * time.Second
	// maxSignIns bounds the calls of Hooks.SignIn that have not returned.
	maxSignIns = 100
)

// Hooks are functions of the application that a BFF calls. Each may be nil. They are
// called by several goroutines at once.
type Hooks struct {
	// SignIn is called for each login after the provider's tokens were verified and before
	// the session exists, also for a login of a user who is signed in (step-up) and for
	// one without interaction. It may change what the session stores of the user, and
	// refuses the login with a [Refusal]. Then the user is not signed in, an earlier
	// session of the browser goes on, and the refresh token is revoked. Any other error
	// and a panic do the same; the user sees that something went wrong, and the log has
	// the cause, so that the error must contain no secret. It is called once for a login,
	// however often the browser repeats the callback; a refresh does not call it.
	SignIn func(context.Context, *SignIn) error
	// SessionEnded is called after a session has ended, by the process that has ended it,
	// with the event of the audit log: its Action is audit.SignOut or audit.SessionEnded,
	// and Cause says why. Nothing waits for it. It is not called for sessions whose timeout
	// passes without a request, which the store removes. Events are lost when the process is
	// killed, and when a thousand wait.
	SessionEnded func(context.Context, audit.Event)
	// Timeout ends the context of each call. A call of SignIn that has not returned then
	// has failed. Default: DefaultHookTimeout.
	Timeout time.Duration
}

// A SignIn is a login that the provider has completed, and that has no session yet.
type SignIn struct {
	// Issuer and Subject identify the user: the claims "iss" and "sub". SessionID is the
	// provider's session, the claim "sid", or "".
	Issuer, Subject, SessionID string
	// Claims is a copy of the claims of the ID token and of userinfo. Numbers are of type
	// json.Number. The session gets what the hook leaves here: it may add, replace and
	// remove claims, of any type that encoding/json encodes. /api/auth/me shows them to the
	// browser, and pages to their user. Claims that the hook has changed are not changed by
	// a refresh, all others are. What is added or replaced may have 16 KiB of JSON, and
	// the claims that describe user, login or token (iss, sub, sid, aud, exp, iat, nbf,
	// nonce, azp, auth_time and hashes) cannot be changed: either fails the login.
	Claims map[string]any
	// Scope is the granted scope, separated by spaces; "" if it is as requested.
	Scope string
	// Client is the address of the browser, UserAgent what it calls itself.
	Client, UserAgent string

	// accessToken is a function so that no formatting shows the token.
	accessToken func() string
}

// AccessToken returns the access token, to call the API for the user during the hook, such
// as for the user's account. It is a credential: do not log it, store it, or pass it to
// another server than the API. A login whose claims contain it fails.
func (s *SignIn) AccessToken() string {
	if s.accessToken == nil {
		return ""
	}
	return s.accessToken()
}

// A Refusal is the error by which [Hooks.SignIn] refuses a login. Its texts are shown to
// the user on a page of the bff, escaped; longer ones are cut.
type Refusal struct {
	// Reason is a word for log and audit log, and for a page of the front end with texts
	// of its own: letters, digits, underscores, dots and hyphens. Others are left out.
	Reason string
	// Title and Message say what happened and what the user can do. Default: that the
	// application is not open to this account.
	Title, Message string
	// Status is the HTTP status, 400 or more. Default: 403.
	Status int
	// Link is the next step, such as a page to ask for access: a path, or an address with
	// https or http. It is shown beside the link to sign in with another account. nil for
	// none.
	Link *web.Link
}

// Error returns the reason.
func (r *Refusal) Error() string {
	if r == nil {
		return "bff: login refused: nil"
	}
	return "bff: login refused: " + cmp.Or(r.Reason, "no reason given")
}

func (h Hooks) validate() error {
	if h.Timeout < 0 || h.Timeout > maxHookTimeout {
		return invalid.Field("Timeout", h.Timeout, "is negative or longer than "+maxHookTimeout.String()+", for which a browser would wait",
			fmt.Sprintf("give a shorter duration, or 0 for %v", DefaultHookTimeout))
	}
	return nil
}

// signIn returns the function that asks Hooks.SignIn about a login, nil without one.
func (h Hooks) signIn(logger *slog.Logger) func(context.Context, session.NewSession) (map[string]any, error) {
	if h.SignIn == nil {
		return nil
	}
	caller := hook.NewCaller(h.Timeout, maxSignIns)
	return func(ctx context.Context, n session.NewSession) (map[string]any, error) {
		provided, access := n.Data.Claims, n.Data.Tokens.Access
		copied, err := claims.Copy(provided)
		if err != nil {
			return nil, err
		}
		s := &SignIn{
			Issuer: n.Issuer, Subject: n.Subject, SessionID: n.SID, Claims: copied, Scope: n.Data.Tokens.Scope,
			Client: n.Address, UserAgent: n.UserAgent, accessToken: func() string { return access },
		}
		var decided map[string]any // not read after an error: the hook may still run
		err = caller.Call(ctx, func(ctx context.Context) (err error) {
			if err = h.SignIn(ctx, s); err == nil {
				decided, err = claims.Decide(provided, s.Claims, access)
			}
			return err
		})
		refusal, refused := errors.AsType[*Refusal](err)
		switch {
		case refused && refusal == nil:
			return nil, errors.New("the hook has returned a nil *Refusal as an error; return nil to accept")
		case refused:
			return nil, refusal.stored(ctx, logger)
		case err != nil:
			return nil, err
		}
		return decided, nil
	}
}

// Bounds of a refusal's texts, in bytes.
const (
	maxReason  = 64
	maxTitle   = 200
	maxMessage = 2000
)

// stored returns the refusal as it is stored for repeated callbacks, within bounds.
func (r *Refusal) stored(ctx context.Context, logger *slog.Logger) *login.Refusal {
	stored := &login.Refusal{
		Status: r.Status, Reason: cut(strings.Map(wordOnly, r.Reason), maxReason),
		Title: cut(strings.Map(printable, r.Title), maxTitle), Message: cut(strings.Map(printable, r.Message), maxMessage),
	}
	if r.Status < http.StatusBadRequest || r.Status > 599 {
		stored.Status = http.StatusForbidden
	}
	if r.Link != nil {
		if linkable(r.Link.Href) {
			stored.Label, stored.Href = cut(strings.Map(printable, r.Link.Label), maxTitle), r.Link.Href
		} else {
			logger.WarnContext(ctx, "hook SignIn: the link of a refusal is neither a path nor an address with https or http, and is left out")
		}
	}
	return stored
}

// linkable reports whether an address can be the link of a refusal.
func linkable(href string) bool {
	if route.Local(href) {
		return true
	}
	u, err := url.Parse(href)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil && len(href) <= route.MaxReturnTo
}

// cut returns at most this many bytes of a text, without a broken character.
func cut(text string, most int) string {
	text = strings.TrimSpace(text)
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}

// printable maps line breaks and tabs to spaces, and drops control characters, changes of
// the writing direction and what is not UTF-8.
func printable(c rune) rune {
	switch {
	case unicode.IsSpace(c):
		return ' '
	case c == utf8.RuneError || !unicode.IsPrint(c):
		return -1
	}
	return c
}

func wordOnly(c rune) rune {
	if c < utf8.RuneSelf && (unicode.IsLetter(c) || unicode.IsDigit(c)) || c == '_' || c == '-' || c == '.' {
		return c
	}
	return -1
}
