package probe

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/clientauth"
	"github.com/gatehouse-dev/gatehouse/internal/clockskew"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A run makes the requests of a login, with a code that the provider has not
// issued and without a user.
type run struct {
	*Prober
	rp.Config
	md *oidc.Metadata
	// skew is how far the provider's clock is ahead of ours. dated reports
	// whether it is known.
	skew  time.Duration
	dated bool
}

// An answer is a response of the provider with any status.
type answer struct {
	status      int
	code        string // "error" (RFC 6749 §5.2), "" for none
	description string // presentable
	kind        string // the media type of a body that is not JSON
	location    string
	body        []byte
}

// String returns the answer as results show it.
func (a *answer) String() string {
	text := fmt.Sprintf("status %d", a.status)
	if a.code != "" {
		text = a.code + ", " + text
	}
	if a.kind != "" {
		text += ", content type " + strconv.QuoteToASCII(a.kind)
	}
	if a.description != "" {
		text += ", " + strconv.QuoteToASCII(a.description)
	}
	return text
}

// refusesRequest reports whether a status is about the request, and not about the
// rate of requests or the address.
func (a *answer) refusesRequest() bool {
	switch a.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// accessToken returns the access token of a successful answer, "" for none.
func (a *answer) accessToken() string {
	var tokens struct {
		Access string `json:"access_token"`
	}
	if a.status >= 300 || json.Unmarshal(a.body, &tokens) != nil {
		return ""
	}
	return tokens.Access
}

// post makes a request to an endpoint of the provider as a client.
func (p *run) post(ctx context.Context, client *clientauth.Client, endpoint string, form url.Values) (*answer, error) {
	return p.read(func() (*rp.Response, error) { return p.party.Post(ctx, client, p.md, endpoint, form) })
}

// read makes a request and interprets the response.
func (p *run) read(request func() (*rp.Response, error)) (*answer, error) {
	asked := p.Now()
	resp, err := request()
	if err != nil {
		return nil, err
	}
	p.date(resp.Header, asked)
	a := &answer{status: resp.Status, location: resp.Header.Get("Location"), body: resp.Body}
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(resp.Body, &refusal) == nil {
		a.code, a.description = clientauth.ErrorCode(refusal.Error), p.presentable(refusal.Description)
	} else if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); len(kind) < 80 {
		a.kind = kind
	}
	return a, nil
}

// presentable returns a text of the provider, shortened and without the client
// secret.
func (p *run) presentable(text string) string {
	const most = 200
	if secret := p.Client.Secret; len(secret) >= 8 {
		text = strings.ReplaceAll(text, secret, "…")
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// date compares the clocks. The smallest difference counts.
func (p *run) date(header http.Header, asked time.Time) {
	if skew, known := clockskew.Of(header, asked, p.Now()); known && (!p.dated || skew.Abs() < p.skew.Abs()) {
		p.skew, p.dated = skew, true
	}
}

// redeem tries to redeem a code that was never issued.
func (p *run) redeem(ctx context.Context, client *clientauth.Client) (*answer, error) {
	return p.post(ctx, client, p.md.TokenEndpoint, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"gatehouse-check"},
		"redirect_uri":  {p.Callback},
		"code_verifier": {verifier},
	})
}

// verifier is the code verifier of the requests that are made here.
const verifier = "gatehouse-check-gatehouse-check-gatehouse-check"

// request is an authorization request that no browser follows.
var request = rp.Request{State: "gatehouse-check", Nonce: "gatehouse-check", Verifier: verifier}

// credentialName names the setting with which the client authenticates.
func (p *run) credentialName() string {
	if p.party.Client().Method(p.md) == clientauth.PrivateKey {
		return p.Setting("Client.Key") + " (its public half is registered there, or read from " + p.BaseURL + route.ClientKeys + ")"
	}
	return p.Setting("Client.Secret")
}

// credential proves that the provider accepts the client's credential: it
// refuses the code and not the client, and refuses the client with a random
// credential in another way. Any other pair of answers proves nothing. The
// random credential is sent once, so that no provider locks the client.
func (p *run) credential(ctx context.Context) check.Result {
	id, method := p.Client.ID, p.party.Client().Method(p.md)
	unknown := func(format string, args ...any) check.Result {
		return check.Result{Status: check.Unknown, Proof: "credential",
			What:   fmt.Sprintf("whether the provider takes the credential of client %s (%s): ", id, method) + fmt.Sprintf(format, args...),
			Remedy: "sign in once to find out"}
	}
	a, err := p.redeem(ctx, p.party.Client())
	switch {
	case err != nil:
		return unknown("the token endpoint %s did not answer: %s", p.md.TokenEndpoint, whyNoAnswer(err))
	case a.refusesClient():
		if method == clientauth.PrivateKey {
			other, audience := p.party.Client().WithOtherAudience(), "issuer"
			if other.AssertForTokenEndpoint {
				audience = "token_endpoint"
			}
			if a, err := p.redeem(ctx, other); err == nil && a.code == "invalid_grant" {
				return check.Bad("credential", "set "+p.Setting("Client.AssertionAudience")+"="+audience,
					"the provider takes the key of client %s, but not the audience of its assertions", id)
			}
		}
		return check.Bad("credential", fmt.Sprintf("correct %s and %s, or its way of authentication, %s, with %s", p.Setting("Client.ID"), p.credentialName(), method, p.Setting("Client.Auth")),
			"the provider refuses client %s (%s)", id, a)
	case a.code == "unauthorized_client":
		return check.Bad("credential", "allow it there", "the provider does not allow client %s the authorization code grant (%s)", id, a)
	case a.accessToken() != "":
		return check.Bad("credential", "do not trust it", "the token endpoint %s accepts a code that was never issued (%s)", p.md.TokenEndpoint, a)
	case a.code != "invalid_grant":
		return unknown("the token endpoint answers %s to a code that was never issued, where invalid_grant would prove it", a)
	}
	stranger, err := p.party.Client().WithWrongCredential(p.md)
	if err != nil {
		return unknown("%v", err)
	}
	control, err := p.redeem(ctx, stranger)
	switch {
	case err != nil:
		return unknown("the token endpoint did not answer the control request with a random credential: %s", whyNoAnswer(err))
	case control.code == "invalid_grant":
		return unknown("the token endpoint refuses the code of any client in the same words (%s), whatever its credential", control)
	case !control.refusesClient() && control.code != "unauthorized_client":
		return unknown("the token endpoint answers %s to the control request with a random credential, where invalid_client would prove it", control)
	}
	switch method {
	case clientauth.NoAuth:
		return check.Good("credential", "client %s is known to the provider as a public one", id)
	case clientauth.PrivateKey:
		return check.Good("credential", "client %s is known to the provider, and its key is right (%s)", id, method)
	}
	return check.Good("credential", "client %s is known to the provider, and its secret is right (%s)", id, method)
}

// redirect proves that the provider accepts our authorization request, and so
// that the redirect URI is registered.
func (p *run) redirect(ctx context.Context) check.Result {
	if p.party.Pushes(p.md) {
		return p.push(ctx)
	}
	none, err := p.authorize(ctx, p.Callback, "none")
	if verdict := p.judge(none, err); verdict.Status != check.Unknown || err != nil || none.status >= 500 || none.status == http.StatusTooManyRequests {
		return verdict
	}
	// The provider shows its login page, or does not support prompt=none. It has
	// checked the redirect URI if its answer to one that cannot be registered is
	// different.
	ours, err := p.authorize(ctx, p.Callback, "")
	if verdict := p.judge(ours, err); verdict.Status != check.Unknown || err != nil {
		return verdict
	}
	other, err := p.authorize(ctx, p.Callback+"/"+rand.Text(), "")
	switch {
	case err != nil:
		return p.redirectUnknown("no answer to the control request: %s", whyNoAnswer(err))
	case ours.status < 400 && (other.refusesRequest() || blamesRedirect(other)):
		return p.redirectKnown()
	case ours.refusesRequest() && ours.status == other.status:
		return p.redirectWrong("the provider refuses our authorization request (%s), as it does one with a redirect URI that cannot be registered", ours)
	}
	return p.redirectUnknown("the authorization endpoint answers %s, and %s to a redirect URI that cannot be registered", ours, other)
}

func (p *run) redirectRemedy() string {
	return fmt.Sprintf("register the redirect URI %s for client %s at the provider, or correct %s=%s", p.Callback, p.Client.ID, p.Setting("BaseURL"), p.BaseURL)
}

func (p *run) redirectKnown() check.Result {
	return check.Good("redirect URI", "the redirect URI %s is registered", p.Callback)
}

func (p *run) redirectWrong(format string, args ...any) check.Result {
	return check.Bad("redirect URI", p.redirectRemedy(), format, args...)
}

func (p *run) redirectUnknown(format string, args ...any) check.Result {
	return check.Result{Status: check.Unknown, Proof: "redirect URI", Remedy: p.redirectRemedy(),
		What: fmt.Sprintf("whether the redirect URI %s is registered: ", p.Callback) + fmt.Sprintf(format, args...)}
}

// authorize makes an authorization request without a browser.
func (p *run) authorize(ctx context.Context, callback, prompt string) (*answer, error) {
	u, err := url.Parse(p.md.AuthorizationEndpoint)
	if err != nil {
		return nil, err
	}
	q := p.party.AuthorizationRequest(p.md, request, url.Values{})
	q.Set("redirect_uri", callback)
	q.Del("prompt")
	if prompt != "" {
		q.Set("prompt", prompt)
	}
	own := u.Query()
	maps.Copy(own, q)
	u.RawQuery = own.Encode()
	const mostHops = 3
	for hops := 0; ; hops++ {
		a, err := p.read(func() (*rp.Response, error) { return p.party.Get(ctx, u.String()) })
		if err != nil || hops == mostHops {
			return a, err
		}
		next := passedOn(u, a, callback)
		if next == nil {
			return a, nil
		}
		u = next
	}
}

// passedOn returns the address to which the provider redirects our request
// before it has checked it, as Dex does to its connectors: an address of its own
// with our redirect URI in it. It returns nil for any other answer.
func passedOn(from *url.URL, a *answer, callback string) *url.URL {
	if a.status < 300 || a.status >= 400 {
		return nil
	}
	to, err := from.Parse(a.location)
	if err != nil || to.Scheme != from.Scheme || to.Host != from.Host ||
		to.Query().Get("redirect_uri") != callback || to.Query().Has("error") {
		return nil
	}
	return to
}

// judge returns the result of an answer that redirects to the redirect URI, or
// names it as the problem. Other answers prove nothing.
func (p *run) judge(a *answer, err error) check.Result {
	if err != nil {
		return p.redirectUnknown("the authorization endpoint did not answer: %s", whyNoAnswer(err))
	}
	if back, ok := p.ledBack(a); ok {
		return p.judgeError(back)
	}
	if blamesRedirect(a) {
		return p.redirectWrong("the redirect URI %s is not registered: the provider refuses it (%s)", p.Callback, a)
	}
	if code := clientauth.ErrorCode(locationParameter(a.location, "error")); code != "" && a.status < 400 { // to an error page of its own
		return p.redirectWrong("the provider refuses our authorization request (%s %s)", code, strconv.QuoteToASCII(p.presentable(locationParameter(a.location, "error_description"))))
	}
	return p.redirectUnknown("the authorization endpoint answers %s", a)
}

// ledBack returns the parameters of an answer that redirects to the redirect
// URI.
func (p *run) ledBack(a *answer) (url.Values, bool) {
	if location, err := url.Parse(a.location); a.status >= 300 && a.status < 400 && err == nil {
		parameters := location.Query()
		if fragment, err := url.ParseQuery(location.Fragment); err == nil && len(parameters) == 0 {
			parameters = fragment
		}
		location.RawQuery, location.Fragment, location.ForceQuery = "", "", false
		if location.String() == p.Callback {
			return parameters, true
		}
	}
	page := html.UnescapeString(string(a.body))
	if a.status == http.StatusOK && p.ResponseMode == "form_post" &&
		(strings.Contains(page, `action="`+p.Callback+`"`) || strings.Contains(page, `action='`+p.Callback+`'`)) {
		return url.Values{}, true // a form for the redirect URI
	}
	return nil, false
}

// judgeError returns the result of an error that the provider sends to the
// redirect URI. login_required and similar ones are expected; others would end
// every login.
func (p *run) judgeError(back url.Values) check.Result {
	code, description := clientauth.ErrorCode(back.Get("error")), p.presentable(back.Get("error_description"))
	refused := func(remedy string) check.Result {
		return check.Bad("authorization request", remedy, "the provider knows the redirect URI and refuses our authorization request (%s %s)", code, strconv.QuoteToASCII(description))
	}
	switch code {
	case "invalid_scope":
		return refused(p.scopeRemedy())
	case "invalid_target":
		return refused(p.targetRemedy())
	case "unauthorized_client", "unsupported_response_type":
		return refused("allow the client the authorization code flow there")
	case "invalid_request", "access_denied":
		if strings.Contains(strings.ToLower(description), "audience") || strings.Contains(strings.ToLower(description), "service not found") {
			return refused(p.targetRemedy())
		}
		if code == "invalid_request" && !strings.Contains(strings.ToLower(description), "prompt") {
			return refused("see the provider's log for the parameter that it refuses")
		}
	}
	return p.redirectKnown() // login_required, interaction_required, temporarily_unavailable, …
}

func (p *run) scopeRemedy() string {
	scope, _ := p.party.Scope(p.md)
	return fmt.Sprintf("allow the scope %q there, or correct %s", scope, p.Setting("Login.Scope"))
}

func (p *run) targetRemedy() string {
	return fmt.Sprintf("correct %s=%s, allow it for the client there, or set %s", p.Setting("Login.Audience"), p.Audience, p.Setting("Login.OmitResource"))
}

// redirectHints are words of providers for an unknown redirect URI.
var redirectHints = []string{"redirect_uri", "redirect uri", "redirecturi", "redirect url", "callback url", "callback_url", "aadsts50011", "not registered for it"}

// blamesRedirect reports whether an error page, or the redirect to one, is about
// the redirect URI.
func blamesRedirect(a *answer) bool {
	text := ""
	switch {
	case a.status >= 300 && a.status < 400:
		if locationParameter(a.location, "error")+locationParameter(a.location, "authError") == "" {
			return false // a login page, whose address repeats our parameters
		}
		text = locationParameter(a.location, "error") + " " + locationParameter(a.location, "error_description")
		if raw, err := base64.URLEncoding.DecodeString(locationParameter(a.location, "authError")); err == nil { // Google
			text += string(raw)
		}
	case a.status >= 400 && a.status < 500:
		text = string(a.body)
	case a.status == http.StatusOK && strings.Contains(string(a.body), "AADSTS50011"): // Entra
		return true
	}
	text = strings.ToLower(text)
	return slices.ContainsFunc(redirectHints, func(hint string) bool { return strings.Contains(text, hint) })
}

func locationParameter(location, name string) string {
	u, err := url.Parse(location)
	if err != nil {
		return ""
	}
	return u.Query().Get(name)
}

// push pushes an authorization request that no browser follows, so that the
// provider checks redirect URI, scope and audience.
func (p *run) push(ctx context.Context) check.Result {
	a, err := p.post(ctx, p.party.Client(), p.md.PushedAuthorizationRequestEndpoint, p.party.AuthorizationRequest(p.md, request, url.Values{}))
	if err != nil {
		return p.redirectUnknown("the endpoint for pushed authorization requests did not answer: %s", whyNoAnswer(err))
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	switch {
	case a.status < 300 && json.Unmarshal(a.body, &pushed) == nil && pushed.RequestURI != "":
		return check.Good("redirect URI", "authorization requests are pushed (RFC 9126), and the provider took one of ours with the redirect URI %s", p.Callback)
	case a.code == "invalid_target":
		return check.Bad("authorization request", p.targetRemedy(), "the provider refuses the audience %s (%s)", p.Audience, a)
	case a.code == "invalid_scope":
		return check.Bad("authorization request", p.scopeRemedy(), "the provider refuses a scope (%s)", a)
	case blamesRedirect(a):
		return p.redirectWrong("the redirect URI %s is not registered: the provider refuses it (%s)", p.Callback, a)
	case a.refusesRequest():
		return check.Bad("authorization request", fmt.Sprintf("is the redirect URI %s registered, and the client allowed to push requests? %s sends them through the browser instead", p.Callback, p.Setting("Login.OmitPAR")),
			"the provider refuses our authorization request (%s)", a)
	}
	return p.redirectUnknown("the endpoint for pushed authorization requests answers %s", a)
}

// accessToken requests an access token for the client itself, if the provider
// issues one, and verifies it as the server does.
func (p *run) accessToken(ctx context.Context, verify func(context.Context, string) error) check.Result {
	unknown := func(why string) check.Result {
		return check.Result{Status: check.Unknown, Proof: "access token", Optional: true, What: "the audience and the kind of access tokens, and whether the key set has the key that signs them: " + why,
			Remedy: "sign in once: the log then says what does not fit"}
	}
	switch {
	case verify == nil:
		return unknown("no server verifies them here")
	case p.party.Client().Method(p.md) == clientauth.NoAuth:
		return unknown("a public client gets none of its own")
	case !slices.Contains(p.md.GrantTypesSupported, "client_credentials"):
		return unknown("the provider does not list the grant client_credentials, with which one could be had without a user")
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	p.party.AddAudience(form)
	a, err := p.post(ctx, p.party.Client(), p.md.TokenEndpoint, form)
	if err != nil {
		return unknown("the token endpoint did not answer: " + whyNoAnswer(err))
	}
	raw := a.accessToken()
	if raw == "" {
		return unknown("the provider gives the client no token of its own (" + a.String() + ")")
	}
	return p.judgeToken(raw, verify(ctx, raw))
}

func (p *run) judgeToken(raw string, err error) check.Result {
	if err == nil {
		if p.OpaqueTokens && !token.HasJWTForm(raw) {
			return check.Good("access token", "an access token of the client's own is opaque, the provider calls it active for the audience %s, and the server accepts it", p.Audience)
		}
		return check.Good("access token", "an access token of the client's own is a JWT with the audience %s, and the server accepts it", p.Audience)
	}
	audience, ok := audienceOf(raw)
	switch {
	case !ok && p.OpaqueTokens:
		return check.Bad("access token", fmt.Sprintf("let the provider name the audience %s in its introspection response (docs/opaque-tokens.md)", p.Audience),
			"the provider issues opaque access tokens, and the server refuses one of the client's own: %v", err)
	case !ok:
		return check.Bad("access token", fmt.Sprintf("register the API %s with the provider, and have it issue JWTs for it, or set %s", p.Audience, p.Setting("Introspection.Endpoint")),
			"the provider issues opaque access tokens, which cannot be verified here: the API answers every call with 401")
	case !slices.Contains(audience, p.Audience):
		return check.Bad("access token", "correct the setting, or the provider's audience for this client",
			"access tokens have the audience %q, not %s=%s: the API answers every call with 401", audience, p.Setting("Login.Audience"), p.Audience)
	}
	if problem, ok := errors.AsType[*token.AlgorithmError](err); ok {
		return check.Bad("access token", problem.Remedy(), "the provider signs access tokens with %s, which %s does not allow: the API answers every call with 401",
			problem.Algorithm, problem.Setting)
	}
	return check.Bad("access token", "see docs/providers for the settings of this provider", "the server would refuse the provider's access tokens: %v", err)
}

// audienceOf returns the audience of a JWT without verifying it. ok is false for
// any other text.
func audienceOf(raw string) (audience []string, ok bool) {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return nil, false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil, false
	}
	var claims struct {
		Audience json.RawMessage `json:"aud"`
	}
	if json.Unmarshal(payload, &claims) != nil {
		return nil, false
	}
	var one string
	if json.Unmarshal(claims.Audience, &one) == nil && one != "" {
		return []string{one}, true
	}
	_ = json.Unmarshal(claims.Audience, &audience) // none, or of a wrong kind: no audience
	return audience, true
}
