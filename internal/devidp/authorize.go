package devidp

import (
	"context"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"github.com/zitadel/schema"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// authorization has the authorization endpoint and the sign-in page.
type authorization struct {
	*realm
	logouts *logouts
	encoder *schema.Encoder
}

// authorize is the authorization endpoint. It responds at once if the browser's
// session satisfies the request, and otherwise redirects to the sign-in page.
// Failures are shown as a page until client and redirect URI are validated, and
// then sent to the client.
func (a *authorization) authorize(w http.ResponseWriter, r *http.Request) {
	in, err := op.ParseAuthorizeRequest(r, a.decoder)
	if err != nil {
		a.pages.fail(w, r, "The application’s sign-in request could not be read.")
		return
	}
	if name := repeated(r.Form); name != "" {
		a.pages.fail(w, r, "The application’s sign-in request gives the parameter "+name+" more than once.")
		return
	}
	if len(r.Form.Encode()) > maxRequest {
		a.pages.fail(w, r, "The application’s sign-in request is too long.")
		return
	}
	client := a.clients.find(in.ClientID)
	if client == nil {
		a.pages.fail(w, r, "The application is not known to this provider: its client_id is not among the configured ones.")
		return
	}
	if op.ValidateAuthReqRedirectURI(client, in.RedirectURI, in.ResponseType) != nil {
		a.pages.fail(w, r, "The application asked to be returned to an address that is not registered for it. Its redirect_uri must equal a configured one, byte for byte.")
		return
	}
	req, err := a.checkAuthRequest(r.Context(), in, client, r.Form)
	if err != nil {
		a.refuse(w, r, &authRequest{client: client, redirectURI: in.RedirectURI, mode: in.ResponseMode, state: in.State}, err)
		return
	}

	if key, ok := strings.CutPrefix(req.loginHint, hintAs); ok {
		a.signInAs(w, r, req, key)
		return
	}
	now := a.now()
	if ses := a.session(r); ses != nil && req.satisfiedBy(ses, now) {
		a.answer(w, r, req, ses)
		return
	}
	if slices.Contains(req.prompt, oidc.PromptNone) {
		a.refuse(w, r, req, oidc.ErrLoginRequired().WithDescription("no session that satisfies the request"))
		return
	}
	a.state.keepRequest(req, now)
	http.Redirect(w, r, a.base+client.LoginURL(req.id), http.StatusSeeOther)
}

// checkAuthRequest checks the request of a valid client with a valid redirect URI.
func (a *authorization) checkAuthRequest(ctx context.Context, in *oidc.AuthRequest, client *registration, form url.Values) (*authRequest, error) {
	if form.Has("request") || form.Has("request_uri") {
		return nil, oidc.ErrRequestNotSupported().WithDescription("request objects are not supported")
	}
	switch in.ResponseMode {
	case "", oidc.ResponseModeQuery, oidc.ResponseModeFragment, oidc.ResponseModeFormPost:
	default:
		in.ResponseMode = ""
		return nil, oidc.ErrInvalidRequest().WithDescription("response_mode is none of query, fragment, form_post")
	}
	if err := op.ValidateAuthReqResponseType(client, in.ResponseType); err != nil {
		return nil, err
	}
	maxAge, err := op.ValidateAuthReqPrompt(in.Prompt, in.MaxAge)
	if err != nil {
		return nil, err
	}
	scopes, err := op.ValidateAuthReqScopes(client, in.Scopes)
	if err != nil {
		return nil, err
	}
	if !slices.Contains(scopes, oidc.ScopeOpenID) {
		return nil, oidc.ErrInvalidScope().WithDescription("the scope openid is required")
	}
	if in.CodeChallenge == "" || in.CodeChallengeMethod != oidc.CodeChallengeMethodS256 {
		return nil, oidc.ErrInvalidRequest().WithDescription("PKCE is required: code_challenge with code_challenge_method=S256 (RFC 7636)")
	}
	if sum, err := base64.RawURLEncoding.Strict().DecodeString(in.CodeChallenge); err != nil || len(sum) != len(digest{}) {
		return nil, oidc.ErrInvalidRequest().WithDescription("code_challenge is not a SHA-256 in unpadded base64url (RFC 7636 §4.2)")
	}
	if err := a.checkTarget(form, a.audiences...); err != nil {
		return nil, err
	}
	// A hint from before a restart cannot be verified, since the key is new. It
	// matters only if the user may not be asked.
	subject, err := op.ValidateAuthReqIDTokenHint(ctx, in.IDTokenHint, a.hints())
	if err != nil && slices.Contains(in.Prompt, oidc.PromptNone) {
		return nil, err
	}
	return &authRequest{
		id: newSecret(), client: client, redirectURI: in.RedirectURI, mode: in.ResponseMode, state: in.State, nonce: in.Nonce,
		challenge: in.CodeChallenge, scopes: scopes, prompt: in.Prompt, maxAge: maxAge, acrValues: words(in.ACRValues),
		loginHint: in.LoginHint, subject: subject, expires: a.now().Add(requestLifetime),
	}, nil
}

// satisfiedBy reports whether the session satisfies the request without a sign-in.
// There is no consent page, also not for prompt=consent.
func (req *authRequest) satisfiedBy(ses *session, now time.Time) bool {
	switch {
	case slices.Contains(req.prompt, oidc.PromptLogin), slices.Contains(req.prompt, oidc.PromptSelectAccount):
		return false
	case req.subject != "" && req.subject != ses.user.Subject:
		return false
	case req.maxAge != nil && now.Sub(ses.authTime)/time.Second >= time.Duration(min(*req.maxAge, 1<<30)):
		// Equality is too old, so that max_age=0 means prompt=login.
		return false
	case len(req.acrValues) > 0 && !slices.Contains(req.acrValues, ses.acr):
		return false
	}
	return true
}

// showLogin shows the users to choose from.
func (a *authorization) showLogin(w http.ResponseWriter, r *http.Request) {
	now := a.now()
	req := a.state.request(r.FormValue("request"), now)
	if req == nil {
		a.pages.expired(w, r)
		return
	}
	form := newGuestForm(a.policies, url.Values{})
	if hinted := a.users.Hinted(req.loginHint, now); hinted == nil && strings.Contains(req.loginHint, "@") {
		form = newGuestForm(a.policies, url.Values{"email": {req.loginHint}})
		form.Open = true
	}
	a.writeLogin(w, r, http.StatusOK, req, form)
}

// writeLogin writes the sign-in page with a form for a guest.
func (a *authorization) writeLogin(w http.ResponseWriter, r *http.Request, status int, req *authRequest, form *guestForm) {
	now := a.now()
	data := &loginPage{Request: req.id, Host: hostOf(req.redirectURI), Hinted: a.users.Hinted(req.loginHint, now), Guest: form}
	if ses := a.session(r); ses != nil {
		data.Current = ses.user
		if len(req.acrValues) > 0 && !slices.Contains(req.acrValues, ses.acr) {
			data.StepUp = req.acrValues[0]
		}
	}
	added := a.users.Added(now)
	for _, u := range slices.Concat(a.users.Configured(), added[:min(len(added), shownGuests)]) {
		data.Users = append(data.Users, loginChoice{User: u, Hinted: u == data.Hinted, Current: u == data.Current})
	}
	form.Open = form.Open || len(data.Users) == 0
	a.pages.write(w, r, status, "login", []string{req.redirectURI}, data)
}

// login handles the form of the sign-in page.
func (a *authorization) login(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		a.pages.fail(w, r, "The form could not be read.")
		return
	}
	now := a.now()
	req := a.state.request(r.PostForm.Get("request"), now)
	if req == nil {
		a.pages.expired(w, r)
		return
	}
	cancelled := r.PostForm.Has("cancel")
	var u *directory.User
	switch {
	case cancelled:
	case r.PostForm.Has("guest"):
		var form *guestForm
		if u, form = a.addFromForm(r.PostForm, now); u == nil {
			a.writeLogin(w, r, http.StatusUnprocessableEntity, req, form)
			return
		}
	default:
		if u = a.users.Find(r.PostForm.Get("user"), now); u == nil {
			a.pages.fail(w, r, "There is no such user.")
			return
		}
	}
	if u != nil && !r.PostForm.Has("unmet") {
		if _, reached := u.Reach(req.acrValues); !reached {
			a.pages.write(w, r, http.StatusForbidden, "unmet", []string{req.redirectURI}, &unmetPage{
				Request: req.id, Host: hostOf(req.redirectURI), User: u, Asked: req.acrValues, Again: a.base + req.client.LoginURL(req.id),
			})
			return
		}
	}
	if req = a.state.takeRequest(req.id, now); req == nil {
		a.pages.expired(w, r)
		return
	}
	if cancelled {
		a.refuse(w, r, req, &oidc.Error{ErrorType: oidc.AccessDenied, Description: "the user cancelled the sign-in"})
		return
	}
	a.signIn(w, r, req, u, now)
}

// hintAs begins a login_hint that signs a user in without a page: the key follows.
const hintAs = "as:"

// signInAs responds to a request whose login_hint names the user to sign in. The
// session of another user in this browser ends.
func (a *authorization) signInAs(w http.ResponseWriter, r *http.Request, req *authRequest, key string) {
	now := a.now()
	u := a.users.Find(key, now)
	ses := a.session(r)
	switch {
	case u == nil:
		a.pages.fail(w, r, "The sign-in request asks for a user that this provider does not have: "+a.unknownUser("login_hint", key).Error()+".")
	case ses != nil && ses.user.Key == u.Key && req.satisfiedBy(ses, now):
		a.answer(w, r, req, ses)
	case slices.Contains(req.prompt, oidc.PromptNone):
		a.refuse(w, r, req, oidc.ErrLoginRequired().WithDescription("no session of the user of login_hint that satisfies the request"))
	default:
		a.signIn(w, r, req, u, now)
	}
}

// signIn signs u in, and responds to the request.
func (a *authorization) signIn(w http.ResponseWriter, r *http.Request, req *authRequest, u *directory.User, now time.Time) {
	acr, reached := u.Reach(req.acrValues)
	if !reached {
		a.refuse(w, r, req, &oidc.Error{ErrorType: "unmet_authentication_requirements", Description: "the user reaches none of acr_values"})
		return
	}
	cookie := newSecret()
	ses, ended := a.state.signIn(a.cookie.value(r), cookie, u, acr, now)
	a.cookie.set(w, cookie)
	if ended != nil {
		a.logouts.notify(ended)
	}
	a.log.InfoContext(r.Context(), "development sign-in", "user", u.Key, "client_id", req.client.ID)
	if req.subject != "" && req.subject != u.Subject {
		a.refuse(w, r, req, oidc.ErrLoginRequired().WithDescription("the user is not that of id_token_hint"))
		return
	}
	a.answer(w, r, req, ses)
}

// A response is an authorization response, with iss (RFC 9207): a code or an error.
type response struct {
	Code        string `schema:"code,omitempty"`
	Error       string `schema:"error,omitempty"`
	Description string `schema:"error_description,omitempty"`
	State       string `schema:"state,omitempty"`
	Issuer      string `schema:"iss"`
}

// answer sends a code to the client.
func (a *authorization) answer(w http.ResponseWriter, r *http.Request, req *authRequest, ses *session) {
	code, now := newSecret(), a.now()
	if !a.state.keepCode(code, req, ses, now, now.Add(a.controls.behavior().RefreshTokenLifetime)) {
		a.refuse(w, r, req, oidc.ErrLoginRequired().WithDescription("the session has ended"))
		return
	}
	a.respond(w, r, req, &response{Code: code, State: req.state, Issuer: a.issuer})
}

// refuse sends an error to the client.
func (a *authorization) refuse(w http.ResponseWriter, r *http.Request, req *authRequest, err error) {
	var e *oidc.Error
	if !errors.As(err, &e) {
		e = oidc.ErrServerError()
	}
	a.log.DebugContext(r.Context(), "authorization refused", "client_id", req.client.ID, "code", string(e.ErrorType), "reason", e.Description)
	a.respond(w, r, req, &response{Error: string(e.ErrorType), Description: e.Description, State: req.state, Issuer: a.issuer})
}

// respond sends an authorization response to the client through the browser.
func (a *authorization) respond(w http.ResponseWriter, r *http.Request, req *authRequest, answer *response) {
	if req.mode == oidc.ResponseModeFormPost {
		fields := make(map[string][]string)
		if err := a.encoder.Encode(answer, fields); err != nil {
			a.pages.fail(w, r, "The answer to the application could not be written.")
			return
		}
		a.pages.write(w, r, http.StatusOK, "form_post", []string{req.redirectURI}, &formPostPage{Action: req.redirectURI, Host: hostOf(req.redirectURI), Fields: fields})
		return
	}
	location, err := op.AuthResponseURL(req.redirectURI, oidc.ResponseTypeCode, req.mode, answer, a.encoder)
	if err != nil {
		a.pages.fail(w, r, "The answer to the application could not be written.")
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, location, http.StatusSeeOther)
}

// words removes empty strings.
func words(list []string) []string {
	return slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == "" })
}
