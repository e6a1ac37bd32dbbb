package devidp

import (
	"cmp"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// tokens has the endpoints for token, revocation and userinfo.
type tokens struct{ *realm }

// serve is the token endpoint.
func (t *tokens) serve(w http.ResponseWriter, r *http.Request) {
	client, err := t.authenticate(r)
	if err != nil {
		t.writeError(w, r, err)
		return
	}
	var resp any
	switch grantType := oidc.GrantType(r.PostForm.Get("grant_type")); {
	case grantType == oidc.GrantTypeClientCredentials && client.machine != nil:
		resp, err = t.machineToken(r, client.machine)
	case grantType == oidc.GrantTypeClientCredentials && len(t.audiences) > 0:
		resp, err = t.clientToken(r, client)
	case grantType == oidc.GrantTypeClientCredentials, client.machine != nil && grantType != "":
		err = oidc.ErrUnauthorizedClient().WithDescription("client_credentials is for machines only, the other grants are for relying parties")
	case grantType == oidc.GrantTypeCode:
		resp, err = t.exchangeCode(r, client)
	case grantType == oidc.GrantTypeRefreshToken:
		resp, err = t.refreshTokens(r, client)
	case grantType == oidc.GrantTypeTokenExchange && len(t.audiences) > 0:
		resp, err = t.exchangeToken(r, client)
	case grantType == "":
		err = oidc.ErrInvalidRequest().WithDescription("grant_type is missing")
	default:
		err = oidc.ErrUnsupportedGrantType().WithDescription("only authorization_code, refresh_token and client_credentials are supported")
	}
	if err != nil {
		t.writeError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, resp)
}

func (t *tokens) exchangeCode(r *http.Request, client *registration) (*oidc.AccessTokenResponse, error) {
	if r.PostForm.Get("code") == "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("code is missing")
	}
	if err := t.checkTarget(r.PostForm); err != nil {
		return nil, err
	}
	code := t.state.redeem(r.PostForm.Get("code"), client, t.now())
	if code == nil {
		return nil, oidc.ErrInvalidGrant().WithDescription("code unknown, expired, used before, or issued to another client")
	}
	if r.PostForm.Get("redirect_uri") != code.request.redirectURI {
		return nil, oidc.ErrInvalidGrant().WithDescription("redirect_uri differs from that of the authorization request")
	}
	challenge := &oidc.CodeChallenge{Challenge: code.request.challenge, Method: oidc.CodeChallengeMethodS256}
	if err := op.AuthorizeCodeChallenge(r.PostForm.Get("code_verifier"), challenge); err != nil {
		return nil, err
	}
	return t.issue(code.grant, t.audience, code.grant.scopes, code.request.nonce, t.controls.behavior().RefreshTokens != NoRefreshTokens)
}

func (t *tokens) refreshTokens(r *http.Request, client *registration) (*oidc.AccessTokenResponse, error) {
	if r.PostForm.Get("refresh_token") == "" {
		return nil, oidc.ErrInvalidRequest().WithDescription("refresh_token is missing")
	}
	target, err := t.target(r.PostForm)
	if err != nil {
		return nil, err
	}
	rotate := t.controls.behavior().RefreshTokens == RotateRefreshTokens
	g, scopes, reused, err := t.state.use(r.PostForm.Get("refresh_token"), client, strings.Fields(r.PostForm.Get("scope")), rotate, t.now())
	if reused {
		t.log.WarnContext(r.Context(), "refresh token reused: every token of that login is revoked", "client_id", client.ID)
	}
	if err != nil {
		return nil, err
	}
	// OpenID Connect Core §12.2: the ID token of a refresh should carry no nonce.
	return t.issue(g, target, scopes, "", rotate)
}

// machineToken issues an access token to a machine, without a refresh token (RFC
// 6749 §4.4.3) and without an ID token.
func (t *tokens) machineToken(r *http.Request, m *directory.Machine) (*oidc.AccessTokenResponse, error) {
	if err := t.checkTarget(r.PostForm); err != nil {
		return nil, err
	}
	scopes := strings.Fields(r.PostForm.Get("scope"))
	for _, scope := range scopes {
		if !slices.Contains(m.Permissions, scope) && !slices.Contains(m.Scopes, scope) {
			return nil, oidc.ErrInvalidScope().WithDescription("the machine has neither the scope nor the permission of this name")
		}
	}
	if len(scopes) == 0 {
		scopes = m.Scopes // RFC 6749 §3.3: the default
	}
	claims, scopes, more := t.machineClaims(m, scopes)
	return t.respond(claims, scopes, more, t.now())
}

// machineClaims returns the claims of a machine's token. Its subject is the client
// (RFC 9068 §2.2). What a machine of an issuer of machines may do is for the server to
// know.
func (rl *realm) machineClaims(m *directory.Machine, scopes []string) (oidc.TokenClaims, []string, map[string]any) {
	claims := oidc.TokenClaims{Subject: m.ID, ClientID: m.ID}
	if m.Class == directory.ClassMachines {
		claims.Issuer = MachineIssuer(rl.base)
		return claims, nil, map[string]any{}
	}
	return claims, scopes, map[string]any{directory.PermissionsClaim: append([]string{}, m.Permissions...)}
}

// MachineIssuer returns the issuer of machines of the class machines. It has the keys of
// the provider, and no metadata. base is the provider's issuer without a slash at the
// end.
func MachineIssuer(base string) string { return base + "/machines" }

// KeySet returns the address of the provider's keys.
func KeySet(base string) string { return base + pathKeys }

// accessClaims completes the claims of an access token with those of RFC 9068.
func (rl *realm) accessClaims(claims oidc.TokenClaims, scopes []string, more map[string]any, now time.Time) *oidc.AccessTokenClaims {
	claims.Issuer = cmp.Or(claims.Issuer, rl.issuer)
	claims.AuthorizedParty = claims.ClientID
	if len(claims.Audience) == 0 {
		claims.Audience = oidc.Audience{rl.audience}
	}
	claims.IssuedAt, claims.JWTID = oidc.FromTime(now), newSecret()
	claims.Expiration = oidc.FromTime(now.Add(rl.controls.behavior().AccessTokenLifetime))
	return &oidc.AccessTokenClaims{TokenClaims: claims, Scopes: scopes, Claims: more}
}

// respond returns a response with an access token of these claims.
func (t *tokens) respond(claims oidc.TokenClaims, scopes []string, more map[string]any, now time.Time) (*oidc.AccessTokenResponse, error) {
	full := t.accessClaims(claims, scopes, more, now)
	access, err := t.signing.sign(full, typeAccessToken)
	if err != nil {
		return nil, err
	}
	return &oidc.AccessTokenResponse{
		AccessToken: access, TokenType: oidc.BearerToken, Scope: scopes,
		ExpiresIn: uint64(full.Expiration.AsTime().Unix() - full.IssuedAt.AsTime().Unix()),
	}, nil
}

// issue returns the tokens of a response, with Auth0's permissions claim. With refresh
// there is a refresh token if the grant has offline_access, also if the scopes of the
// access token are fewer.
func (t *tokens) issue(g *grant, audience string, scopes []string, nonce string, refresh bool) (*oidc.AccessTokenResponse, error) {
	now := t.now()
	u := t.users.Still(g.user, now)
	if u == nil {
		return nil, oidc.ErrInvalidGrant().WithDescription("the user is no longer known")
	}
	claims := oidc.TokenClaims{
		Subject: u.Subject, ClientID: g.client.ID, Audience: oidc.Audience{audience},
		AuthTime: oidc.FromTime(g.authTime), AuthenticationContextClassReference: g.acr,
	}
	more := map[string]any{"sid": g.sid, directory.PermissionsClaim: u.Permissions}
	maps.Copy(more, u.Claims)
	resp, err := t.respond(claims, scopes, more, now)
	if err != nil {
		return nil, err
	}
	if slices.Contains(scopes, oidc.ScopeOpenID) {
		claims, err := t.idClaims(g, u, scopes, nonce, resp.AccessToken, now)
		if err != nil {
			return nil, err
		}
		if resp.IDToken, err = t.signing.sign(claims, typeIDToken); err != nil {
			return nil, err
		}
	}
	if refresh && slices.Contains(g.scopes, oidc.ScopeOfflineAccess) {
		resp.RefreshToken = newSecret()
	}
	t.state.keepTokens(g, resp.AccessToken, resp.RefreshToken, scopes, now.Add(time.Duration(resp.ExpiresIn)*time.Second), now)
	return resp, nil
}

// idClaims returns claims whose audience is the client only, so that ID tokens do
// not pass for access tokens.
func (t *tokens) idClaims(g *grant, u *directory.User, scopes []string, nonce, access string, now time.Time) (*oidc.IDTokenClaims, error) {
	atHash, err := oidc.ClaimHash(access, t.signing.idAlg)
	if err != nil {
		return nil, err
	}
	claims := &oidc.IDTokenClaims{
		TokenClaims: oidc.TokenClaims{
			Issuer:                              t.issuer,
			Audience:                            oidc.Audience{g.client.ID},
			Expiration:                          oidc.FromTime(now.Add(t.controls.behavior().IDTokenLifetime)),
			IssuedAt:                            oidc.FromTime(now),
			AuthTime:                            oidc.FromTime(g.authTime),
			AuthenticationContextClassReference: g.acr,
			Nonce:                               nonce,
			AuthorizedParty:                     g.client.ID,
		},
		AccessTokenHash: atHash,
		SessionID:       g.sid,
	}
	claims.SetUserInfo(infoAbout(u, scopes))
	return claims, nil
}

// infoAbout returns the claims about u that scopes select.
func infoAbout(u *directory.User, scopes []string) *oidc.UserInfo {
	info := &oidc.UserInfo{Subject: u.Subject}
	// The user's own claims replace those that have no field in the configuration.
	claims := map[string]any{}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name, info.GivenName, info.FamilyName = u.Name, u.GivenName, u.FamilyName
		claims["nickname"], claims["preferred_username"] = u.Key, u.Key
	}
	if slices.Contains(scopes, oidc.ScopeEmail) && u.Email != directory.NoEmail {
		info.Email, claims["email_verified"] = u.Email, true
	}
	maps.Copy(claims, u.Claims)
	info.Claims = claims
	return info
}

// userinfo is the userinfo endpoint. The scopes of the token select the claims.
func (t *tokens) userinfo(w http.ResponseWriter, r *http.Request) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, oidc.BearerToken) || token == "" {
		w.Header().Set("WWW-Authenticate", `Bearer realm="devidp"`)
		writeJSON(w, http.StatusUnauthorized, oidc.ErrInvalidRequest().WithDescription("no bearer token in the Authorization header"))
		return
	}
	now := t.now()
	known := t.state.accessToken(token, now)
	var u *directory.User
	if known != nil {
		u = t.users.Still(known.grant.user, now)
	}
	switch {
	case u == nil:
		w.Header().Set("WWW-Authenticate", `Bearer realm="devidp", error="invalid_token"`)
		writeJSON(w, http.StatusUnauthorized, &oidc.Error{ErrorType: "invalid_token", Description: "access token unknown, expired or revoked"})
	case !slices.Contains(known.scopes, oidc.ScopeOpenID):
		w.Header().Set("WWW-Authenticate", `Bearer realm="devidp", error="insufficient_scope", scope="openid"`)
		writeJSON(w, http.StatusForbidden, &oidc.Error{ErrorType: "insufficient_scope", Description: "the scope openid is required"})
	default:
		writeJSON(w, http.StatusOK, infoAbout(u, known.scopes))
	}
}

// revoke is the revocation endpoint (RFC 7009). A revoked access token is refused by
// userinfo; resource servers that verify its signature accept it until it expires.
func (t *tokens) revoke(w http.ResponseWriter, r *http.Request) {
	client, err := t.authenticate(r)
	if err != nil {
		t.writeError(w, r, err)
		return
	}
	token := r.PostForm.Get("token")
	if token == "" {
		t.writeError(w, r, oidc.ErrInvalidRequest().WithDescription("token is missing"))
		return
	}
	if !t.state.revoke(token, client) {
		t.writeError(w, r, oidc.ErrInvalidGrant().WithDescription("the token was issued to another client"))
		return
	}
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusOK)
}

// writeError writes the error response to a client's request (RFC 6749 §5.2).
func (t *tokens) writeError(w http.ResponseWriter, r *http.Request, err error) {
	var e *oidc.Error
	if !errors.As(err, &e) {
		t.log.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "err", err)
		e = oidc.ErrServerError().WithDescription("see the log of the development provider")
	}
	status := http.StatusBadRequest
	switch e.ErrorType {
	case oidc.InvalidClient:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Basic realm="devidp"`)
	case oidc.ServerError:
		status = http.StatusInternalServerError
	}
	t.log.DebugContext(r.Context(), "request refused", "path", r.URL.Path, "code", string(e.ErrorType), "reason", e.Description)
	writeJSON(w, status, e)
}

// writeJSON writes a JSON response that is not cached (RFC 6749 §5.1).
func writeJSON(w http.ResponseWriter, status int, body any) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
