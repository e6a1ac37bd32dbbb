package devidp

import (
	"net/http"
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// The paths of the endpoints below the issuer.
const (
	pathAuthorize     = "/authorize"
	pathLogin         = "/login"
	pathToken         = "/oauth/token"
	pathUserinfo      = "/userinfo"
	pathRevoke        = "/oauth/revoke"
	pathKeys          = "/keys"
	pathEndSession    = "/end_session"
	pathConfirmLogout = "/end_session/confirm"
)

// metadata adds members to zitadel's document.
type metadata struct {
	oidc.DiscoveryConfiguration
	// RFC 9207 §3.
	IssParameterSupported bool `json:"authorization_response_iss_parameter_supported"`
}

func (rl *realm) discovery(w http.ResponseWriter, _ *http.Request) {
	grants := []oidc.GrantType{oidc.GrantTypeCode, oidc.GrantTypeRefreshToken, oidc.GrantTypeClientCredentials}
	if len(rl.audiences) > 0 {
		grants = append(grants, oidc.GrantTypeTokenExchange)
	}
	methods := []oidc.AuthMethod{oidc.AuthMethodBasic, oidc.AuthMethodPost}
	writeJSON(w, http.StatusOK, &metadata{
		DiscoveryConfiguration: oidc.DiscoveryConfiguration{
			Issuer:                                 rl.issuer,
			AuthorizationEndpoint:                  rl.base + pathAuthorize,
			TokenEndpoint:                          rl.base + pathToken,
			UserinfoEndpoint:                       rl.base + pathUserinfo,
			RevocationEndpoint:                     rl.base + pathRevoke,
			EndSessionEndpoint:                     rl.base + pathEndSession,
			JwksURI:                                rl.base + pathKeys,
			ScopesSupported:                        append(append([]string(nil), directory.StandardScopes...), rl.apiScopes()...),
			ResponseTypesSupported:                 []string{string(oidc.ResponseTypeCode)},
			ResponseModesSupported:                 []string{string(oidc.ResponseModeQuery), string(oidc.ResponseModeFragment), string(oidc.ResponseModeFormPost)},
			GrantTypesSupported:                    grants,
			SubjectTypesSupported:                  []string{"public"},
			IDTokenSigningAlgValuesSupported:       []string{string(rl.signing.idAlg)},
			TokenEndpointAuthMethodsSupported:      methods,
			RevocationEndpointAuthMethodsSupported: methods,
			CodeChallengeMethodsSupported:          []oidc.CodeChallengeMethod{oidc.CodeChallengeMethodS256},
			ClaimsSupported: []string{
				"iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "azp", "at_hash", "sid",
				"name", "given_name", "family_name", "nickname", "preferred_username", "email", "email_verified",
			},
			BackChannelLogoutSupported:        true,
			BackChannelLogoutSessionSupported: true,
		},
		IssParameterSupported: true,
	})
}

// apiScopes returns the scopes of the API: those that the policies name, and the
// permissions and scopes of the configured users.
func (rl *realm) apiScopes() []string {
	all := slices.Clone(rl.policies.Scopes)
	for _, u := range rl.users.Configured() {
		all = slices.Concat(all, u.Permissions, u.Scopes)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (rl *realm) keys(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, rl.signing.published())
}
