package bff

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/internal/route"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// A prober asks the provider what a login would ask it, with a code that it has
// not issued and without a person.
type prober struct {
	rp *relyingParty
	md *oidc.Metadata
	// skew is how far the provider's clock is ahead of ours; dated tells whether
	// it is known.
	skew  time.Duration
	dated bool
}

func newProber(rp *relyingParty, md *oidc.Metadata) *prober { return &prober{rp: rp, md: md} }

// An answer is one of the provider, of any status.
type answer struct {
	status      int
	code        string // the error of RFC 6749 section 5.2, "" for none
	description string // fit to be shown
	kind        string // the media type of an answer that is not JSON
	location    string
	body        []byte
}

// String is the answer as a message shows it.
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

// refusesRequest tells whether a status is about the request, rather than about
// who asks how often, or an address that is not there.
func (a *answer) refusesRequest() bool {
	switch a.status {
	case http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// accessToken is the one in a successful answer, "" for none.
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
func (p *prober) post(ctx context.Context, client *relyingParty, endpoint string, form url.Values) (*answer, error) {
	basic, err := client.authenticate(p.md, form)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.GetBody = nil
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if basic {
		req.SetBasicAuth(url.QueryEscape(client.cfg.Client.ID), url.QueryEscape(client.cfg.Client.Secret))
	}
	return p.do(req)
}

func (p *prober) do(req *http.Request) (*answer, error) {
	ctx, cancel := context.WithTimeout(req.Context(), providerTimeout)
	defer cancel()
	asked := p.rp.cfg.Now()
	resp, err := p.rp.http.Do(req.WithContext(ctx))
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL and its parameters
		}
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	defer resp.Body.Close()
	p.date(resp.Header, asked)
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxProviderBytes))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", req.URL.Host, err)
	}
	a := &answer{status: resp.StatusCode, location: resp.Header.Get("Location"), body: body}
	var refusal struct {
		Error       string `json:"error"`
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &refusal) == nil {
		a.code, a.description = errorCode(refusal.Error), p.presentable(refusal.Description)
	} else if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); len(kind) < 80 {
		a.kind = kind
	}
	return a, nil
}

// presentable bounds a text of the provider, and hides a credential in it.
func (p *prober) presentable(text string) string {
	const most = 200
	if secret := p.rp.cfg.Client.Secret; len(secret) >= 8 {
		text = strings.ReplaceAll(text, secret, "…")
	}
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

// date compares the clocks. A cached answer has its own time, so it is passed
// over.
func (p *prober) date(header http.Header, asked time.Time) {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" {
		return
	}
	answered := p.rp.cfg.Now()
	// The header has whole seconds, and was written at some moment in between.
	skew := time.Duration(0)
	switch {
	case theirs.Before(asked.Add(-time.Second)):
		skew = theirs.Sub(asked)
	case theirs.After(answered):
		skew = theirs.Sub(answered)
	}
	if !p.dated || skew.Abs() < p.skew.Abs() {
		p.skew, p.dated = skew, true
	}
}

// maxSkew is what verification tolerates.
const maxSkew = time.Minute

func (p *prober) clock() CheckResult {
	switch seconds := int(p.skew.Abs().Round(time.Second).Seconds()); {
	case !p.dated:
		return CheckResult{Status: check.Unknown, Proof: "clock", Optional: true, What: "whether the clocks agree: no answer of the provider had a Date header"}
	case p.skew > maxSkew:
		return CheckResult{Status: check.Wrong, Proof: "clock", What: fmt.Sprintf("this machine's clock is %d s behind the provider's, so that new tokens are from the future here (60 s are tolerated)", seconds),
			Remedy: "synchronise this machine's clock (NTP), or the provider's"}
	case p.skew < -maxSkew:
		return CheckResult{Status: check.Wrong, Proof: "clock", What: fmt.Sprintf("this machine's clock is %d s ahead of the provider's, so that tokens expire too early here (60 s are tolerated)", seconds),
			Remedy: "synchronise this machine's clock (NTP), or the provider's"}
	default:
		return good("clock", "the clocks of this machine and of the provider differ by %d s", seconds)
	}
}

// redeem redeems a code that was never issued.
func (p *prober) redeem(ctx context.Context, client *relyingParty) (*answer, error) {
	return p.post(ctx, client, p.md.TokenEndpoint, url.Values{
		"grant_type":    {"authorization_code"},
		"code":          {"gatehouse-check"},
		"redirect_uri":  {p.rp.callback},
		"code_verifier": {"gatehouse-check-gatehouse-check-gatehouse-check"},
	})
}

// stranger is the same client with a credential that cannot be right: one that
// is drawn for this request. A public client gets another id.
func (p *prober) stranger() (*relyingParty, error) {
	other := *p.rp
	switch p.rp.clientAuth(p.md) {
	case AuthNone:
		other.cfg.Client.ID = "gatehouse-check-" + rand.Text()
	case AuthPrivateKey:
		keys, err := p.rp.keys.Another(rand.Reader)
		if err != nil {
			return nil, err
		}
		other.keys = keys
	default:
		other.cfg.Client.Secret = rand.Text()
	}
	return &other, nil
}

// credential proves that the provider knows the client and takes its credential:
// it refuses the code, not the client, and refuses a client with a random
// credential in another way. Any other pair of answers proves nothing. The
// random credential is sent once, so that no provider locks the client out.
func (p *prober) credential(ctx context.Context) CheckResult {
	id, method := p.rp.cfg.Client.ID, p.rp.clientAuth(p.md)
	wrong := func(remedy, format string, args ...any) CheckResult {
		return CheckResult{Status: check.Wrong, Proof: "credential", What: fmt.Sprintf(format, args...), Remedy: remedy}
	}
	unknown := func(format string, args ...any) CheckResult {
		return CheckResult{Status: check.Unknown, Proof: "credential",
			What:   fmt.Sprintf("whether the provider takes the credential of client %s (%s): ", id, method) + fmt.Sprintf(format, args...),
			Remedy: "sign in once to find out"}
	}
	a, err := p.redeem(ctx, p.rp)
	switch {
	case err != nil:
		return unknown("the token endpoint %s did not answer: %s", p.md.TokenEndpoint, whyNoAnswer(err))
	case a.refusesClient():
		if method == AuthPrivateKey {
			other := p.rp.withOtherAudience()
			if a, err := p.redeem(ctx, other); err == nil && a.code == "invalid_grant" {
				return wrong("set GATEHOUSE_OIDC_ASSERTION_AUDIENCE="+string(other.cfg.Client.AssertionAudience),
					"the provider takes the key of client %s, but not the audience of its assertions", id)
			}
		}
		return wrong(p.clientRemedy(method), "the provider refuses client %s (%s)", id, a)
	case a.code == "unauthorized_client":
		return wrong("allow it there", "the provider does not allow client %s the authorization code grant (%s)", id, a)
	case a.accessToken() != "":
		return wrong("do not trust it", "the token endpoint %s accepts a code that was never issued (%s)", p.md.TokenEndpoint, a)
	case a.code != "invalid_grant":
		return unknown("the token endpoint answers %s to a code that was never issued, where invalid_grant would prove it", a)
	}
	stranger, err := p.stranger()
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
	case AuthNone:
		return good("credential", "client %s is known to the provider as a public one", id)
	case AuthPrivateKey:
		return good("credential", "client %s is known to the provider, and its key is right (%s)", id, method)
	}
	return good("credential", "client %s is known to the provider, and its secret is right (%s)", id, method)
}

func (p *prober) clientRemedy(method AuthMethod) string {
	return fmt.Sprintf("correct GATEHOUSE_OIDC_CLIENT_ID and %s, or its way of authentication, %s, with GATEHOUSE_OIDC_CLIENT_AUTH", p.rp.credentialName(p.md), method)
}

// redirect proves that the provider takes our authorization request and so
// knows the redirect URI.
func (p *prober) redirect(ctx context.Context) CheckResult {
	if p.rp.pushes(p.md) {
		return p.push(ctx)
	}
	none := p.authorize(ctx, p.rp.callback, "none")
	switch verdict := p.judge(none); {
	case verdict.Status != check.Unknown:
		return verdict
	case none.err != nil || none.a.status >= 500 || none.a.status == http.StatusTooManyRequests:
		return verdict
	}
	// The provider went on to its login page, or does not know prompt=none. It
	// has judged the redirect URI if it treats one that cannot be registered
	// otherwise.
	ours := p.authorize(ctx, p.rp.callback, "")
	if verdict := p.judge(ours); verdict.Status != check.Unknown || ours.err != nil {
		return verdict
	}
	other := p.authorize(ctx, p.rp.callback+"/"+rand.Text(), "")
	switch {
	case other.err != nil:
		return p.redirectUnknown("no answer to the control request: " + whyNoAnswer(other.err))
	case ours.a.status < 400 && (other.a.refusesRequest() || blamesRedirect(other.a)):
		return p.redirectKnown()
	case ours.a.refusesRequest() && ours.a.status == other.a.status:
		return CheckResult{Status: check.Wrong, Proof: "redirect URI",
			What:   fmt.Sprintf("the provider refuses our authorization request (%s), as it does one with a redirect URI that cannot be registered", ours.a),
			Remedy: p.redirectRemedy()}
	}
	return p.redirectUnknown(fmt.Sprintf("the authorization endpoint answers %s, and %s to a redirect URI that cannot be registered", ours.a, other.a))
}

func (p *prober) redirectRemedy() string {
	return fmt.Sprintf("register the redirect URI %s for client %s at the provider, or correct GATEHOUSE_BASE_URL=%s", p.rp.callback, p.rp.cfg.Client.ID, strings.TrimSuffix(p.rp.callback, route.Callback))
}

func (p *prober) redirectKnown() CheckResult {
	return good("redirect URI", "the redirect URI %s is registered", p.rp.callback)
}

func (p *prober) redirectUnknown(why string) CheckResult {
	return CheckResult{Status: check.Unknown, Proof: "redirect URI", What: fmt.Sprintf("whether the redirect URI %s is registered: %s", p.rp.callback, why), Remedy: p.redirectRemedy()}
}

// An attempted authorization request, made without a browser.
type authorizationAnswer struct {
	a   *answer
	err error
}

func (p *prober) authorize(ctx context.Context, callback, prompt string) authorizationAnswer {
	u, err := url.Parse(p.md.AuthorizationEndpoint)
	if err != nil {
		return authorizationAnswer{err: err}
	}
	q := p.rp.authorizationRequest(p.md, &attempt{Seed: "gatehouse-check"}, url.Values{})
	q.Set("redirect_uri", callback)
	q.Del("prompt")
	if prompt != "" {
		q.Set("prompt", prompt)
	}
	own := u.Query()
	for name, values := range q {
		own[name] = values
	}
	u.RawQuery = own.Encode()
	const mostHops = 3
	for hops := 0; ; hops++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
		if err != nil {
			return authorizationAnswer{err: err}
		}
		req.Header.Set("Accept", "text/html")
		a, err := p.do(req)
		if err != nil || hops == mostHops {
			return authorizationAnswer{a, err}
		}
		next := passedOn(u, a, callback)
		if next == nil {
			return authorizationAnswer{a, nil}
		}
		u = next
	}
}

// passedOn is the address to which an authorization server passes our request
// on without having judged it, as Dex does to its connectors: one of its own,
// with our redirect URI still in it. It is nil for any other answer.
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

// judge reads an answer that settles the question: one that leads back to the
// redirect URI, and one that blames it. Others are unknown.
func (p *prober) judge(got authorizationAnswer) CheckResult {
	if got.err != nil {
		return p.redirectUnknown("the authorization endpoint did not answer: " + whyNoAnswer(got.err))
	}
	a := got.a
	if back, ok := p.ledBack(a); ok {
		return p.judgeError(back)
	}
	if blamesRedirect(a) {
		return CheckResult{Status: check.Wrong, Proof: "redirect URI",
			What: fmt.Sprintf("the redirect URI %s is not registered: the provider refuses it (%s)", p.rp.callback, a), Remedy: p.redirectRemedy()}
	}
	if code := errorCode(locationParameter(a.location, "error")); code != "" && a.status < 400 { // to an error page of its own
		return CheckResult{Status: check.Wrong, Proof: "redirect URI",
			What: fmt.Sprintf("the provider refuses our authorization request (%s %s)", code, strconv.QuoteToASCII(p.presentable(locationParameter(a.location, "error_description")))), Remedy: p.redirectRemedy()}
	}
	return p.redirectUnknown("the authorization endpoint answers " + a.String())
}

// ledBack returns the parameters of an answer that sends the browser back to the
// redirect URI.
func (p *prober) ledBack(a *answer) (url.Values, bool) {
	if location, err := url.Parse(a.location); a.status >= 300 && a.status < 400 && err == nil {
		parameters := location.Query()
		if fragment, err := url.ParseQuery(location.Fragment); err == nil && len(parameters) == 0 {
			parameters = fragment
		}
		location.RawQuery, location.Fragment, location.ForceQuery = "", "", false
		if location.String() == p.rp.callback {
			return parameters, true
		}
	}
	page := html.UnescapeString(string(a.body))
	if a.status == http.StatusOK && p.rp.cfg.Login.ResponseMode == ModeFormPost &&
		(strings.Contains(page, `action="`+p.rp.callback+`"`) || strings.Contains(page, `action='`+p.rp.callback+`'`)) {
		return url.Values{}, true // a form for the redirect URI; its fields are the provider's business
	}
	return nil, false
}

// judgeError judges the error with which the provider leads back.
// login_required and its like are expected, the rest would end every login.
func (p *prober) judgeError(back url.Values) CheckResult {
	code, description := errorCode(back.Get("error")), p.presentable(back.Get("error_description"))
	refused := func(remedy string) CheckResult {
		return CheckResult{Status: check.Wrong, Proof: "authorization request",
			What: fmt.Sprintf("the provider knows the redirect URI and refuses our authorization request (%s %s)", code, strconv.QuoteToASCII(description)), Remedy: remedy}
	}
	switch code {
	case "invalid_scope":
		return refused(fmt.Sprintf("allow the scope %q there, or correct GATEHOUSE_OIDC_SCOPE", requestedScope(p.rp, p.md)))
	case "invalid_target":
		return refused(p.targetRemedy())
	case "unauthorized_client", "unsupported_response_type":
		return refused("allow the client the authorization code flow there")
	case "invalid_request", "access_denied":
		if strings.Contains(strings.ToLower(description), "audience") || strings.Contains(strings.ToLower(description), "service not found") {
			return refused(p.targetRemedy())
		}
		if code == "invalid_request" && !strings.Contains(strings.ToLower(description), "prompt") {
			return refused("see the provider's log for the parameter that it does not like")
		}
	}
	return p.redirectKnown() // login_required, interaction_required, temporarily_unavailable, …
}

func requestedScope(rp *relyingParty, md *oidc.Metadata) string {
	scope, _ := rp.scope(md)
	return scope
}

func (p *prober) targetRemedy() string {
	return fmt.Sprintf("correct GATEHOUSE_AUDIENCE=%s, allow it for the client there, or set GATEHOUSE_OIDC_OMIT_RESOURCE", p.rp.cfg.Login.Audience)
}

// redirectHints are what providers call a redirect URI that they do not know.
var redirectHints = []string{"redirect_uri", "redirect uri", "redirecturi", "redirect url", "callback url", "callback_url", "aadsts50011", "not registered for it"}

// blamesRedirect tells whether an error page, or the way to one, is about the
// redirect URI.
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

// push pushes an authorization request that no browser will follow, and so has
// the provider judge redirect URI, scope and audience.
func (p *prober) push(ctx context.Context) CheckResult {
	wrong := func(a *answer, remedy, format string, args ...any) CheckResult {
		return CheckResult{Status: check.Wrong, Proof: "authorization request", What: fmt.Sprintf(format, args...) + fmt.Sprintf(" (%s)", a), Remedy: remedy}
	}
	a, err := p.post(ctx, p.rp, p.md.PushedAuthorizationRequestEndpoint, p.rp.authorizationRequest(p.md, &attempt{Seed: "gatehouse-check"}, url.Values{}))
	if err != nil {
		return p.redirectUnknown("the endpoint for pushed authorization requests did not answer: " + whyNoAnswer(err))
	}
	var pushed struct {
		RequestURI string `json:"request_uri"`
	}
	switch {
	case a.status < 300 && json.Unmarshal(a.body, &pushed) == nil && pushed.RequestURI != "":
		return good("redirect URI", "authorization requests are pushed (RFC 9126), and the provider took one of ours with the redirect URI %s", p.rp.callback)
	case a.code == "invalid_target":
		return wrong(a, p.targetRemedy(), "the provider refuses the audience %s", p.rp.cfg.Login.Audience)
	case a.code == "invalid_scope":
		return wrong(a, fmt.Sprintf("allow the scope %q there, or correct GATEHOUSE_OIDC_SCOPE", requestedScope(p.rp, p.md)), "the provider refuses a scope")
	case blamesRedirect(a):
		return CheckResult{Status: check.Wrong, Proof: "redirect URI",
			What: fmt.Sprintf("the redirect URI %s is not registered: the provider refuses it (%s)", p.rp.callback, a), Remedy: p.redirectRemedy()}
	case a.refusesRequest():
		return wrong(a, fmt.Sprintf("is the redirect URI %s registered, and the client allowed to push requests? GATEHOUSE_OIDC_OMIT_PAR sends them through the browser instead", p.rp.callback),
			"the provider refuses our authorization request")
	}
	return p.redirectUnknown("the endpoint for pushed authorization requests answers " + a.String())
}

// accessToken asks for a token of the client's own, if the provider gives one,
// and has it judged as the server would judge it.
func (p *prober) accessToken(ctx context.Context, verify func(context.Context, string) error) CheckResult {
	unknown := func(why string) CheckResult {
		return CheckResult{Status: check.Unknown, Proof: "access token", Optional: true, What: "the audience and the kind of access tokens: " + why,
			Remedy: "sign in once and call the API to find out"}
	}
	switch {
	case verify == nil:
		return unknown("no server verifies them here")
	case p.rp.clientAuth(p.md) == AuthNone:
		return unknown("a public client gets none of its own")
	case !slices.Contains(p.md.GrantTypesSupported, "client_credentials"):
		return unknown("the provider does not list the grant client_credentials, with which one could be had without a person")
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	p.rp.addAudience(form)
	a, err := p.post(ctx, p.rp, p.md.TokenEndpoint, form)
	if err != nil {
		return unknown("the token endpoint did not answer: " + whyNoAnswer(err))
	}
	raw := a.accessToken()
	if raw == "" {
		return unknown("the provider gives the client no token of its own (" + a.String() + ")")
	}
	return p.judgeToken(raw, verify(ctx, raw))
}

func (p *prober) judgeToken(raw string, err error) CheckResult {
	if err == nil {
		return good("access token", "an access token of the client's own is a JWT with the audience %s, and the server accepts it", p.rp.cfg.Login.Audience)
	}
	r := CheckResult{Status: check.Wrong, Proof: "access token"}
	claims, ok := audienceOf(raw)
	switch {
	case !ok:
		r.What = "the provider issues opaque access tokens, which cannot be verified here: the API answers every call with 401"
		r.Remedy = fmt.Sprintf("register the API %s with the provider, and have it issue JWTs for it", p.rp.cfg.Login.Audience)
	case !slices.Contains(claims, p.rp.cfg.Login.Audience):
		r.What = fmt.Sprintf("access tokens have the audience %q, not GATEHOUSE_AUDIENCE=%s: the API answers every call with 401", claims, p.rp.cfg.Login.Audience)
		r.Remedy = "correct the setting, or the provider's audience for this client"
	default:
		r.What = fmt.Sprintf("the server would refuse the provider's access tokens: %v", err)
		r.Remedy = "see docs/providers for the settings of this provider"
	}
	return r
}

// audienceOf reads the audience of a JWT without verifying it; ok is false for
// what is none.
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
