package devidp

import (
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/zitadel/oidc/v3/pkg/oidc"
	"github.com/zitadel/oidc/v3/pkg/op"
	"github.com/zitadel/schema"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

// A realm is what all endpoints share.
type realm struct {
	issuer   string // as configured: the iss of all tokens, byte for byte
	base     string // the issuer without a trailing slash, for the addresses of endpoints
	cookie   *sessionCookie
	clients  clients
	pages    *pages
	audience string
	// audiences are others, for which relying parties may have tokens.
	audiences []string
	controls  *controls
	now       func() time.Time
	log       *slog.Logger
	decoder   *schema.Decoder
	signing   *signingKeys
	users     *directory.Directory
	state     *state
	policies  directory.PolicyValues
}

// session returns the session of the browser that sent r, or nil.
func (rl *realm) session(r *http.Request) *session {
	return rl.state.session(rl.cookie.value(r), rl.now())
}

// checkTarget refuses every audience and resource (RFC 8707) except ours, and others if
// they are given.
func (rl *realm) checkTarget(form url.Values, others ...string) error {
	for _, target := range slices.Concat(form["audience"], form["resource"]) {
		if target != "" && target != rl.audience && !slices.Contains(others, target) {
			return oidc.ErrInvalidTarget().WithDescription("audience unknown")
		}
	}
	return nil
}

// hints returns the verifier of id_token_hint.
func (rl *realm) hints() *op.IDTokenHintVerifier {
	return op.NewIDTokenHintVerifier(rl.issuer, rl.signing, op.WithSupportedIDTokenHintSigningAlgorithms(string(rl.signing.idAlg)))
}
