package routetoken

import (
	"context"
	"slices"
	"strconv"

	"github.com/gatehouse-dev/gatehouse/bff/internal/rp"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/oidc"
)

// proof names the checks of routes' tokens.
const proof = "route token"

// Check requests the client's own tokens, and says what the first user will prove. md
// are the provider's metadata.
func (t *Tokens) Check(ctx context.Context, md *oidc.Metadata) []check.Result {
	t.mu.Lock()
	all := slices.Clone(t.sources)
	t.mu.Unlock()
	var results []check.Result
	for _, src := range all {
		r := src.requester
		grant := map[Grant]string{Client: rp.GrantCredentials, Refresh: "refresh_token", Exchange: rp.GrantExchange}[r.route.Grant]
		if grants := md.GrantTypesSupported; len(grants) > 0 && !slices.Contains(grants, grant) {
			results = append(results, check.Result{
				Status: check.Warn, Proof: proof, Remedy: "turn it on there, if requests of this route fail",
				What: "the provider does not list the grant " + grant + ", which " + r.route.Setting + " (" + r.route.Path + ") uses",
			})
		}
		results = append(results, src.check(ctx))
	}
	return results
}

// check proves that a route gets a token, as far as that is possible without a user.
func (src *Source) check(ctx context.Context) check.Result {
	r := src.requester
	target := "a token"
	if r.route.Audience != "" {
		target += " for " + strconv.QuoteToASCII(r.route.Audience)
	}
	if r.route.Grant != Client {
		result := check.NotKnown(proof, "open it once as a signed-in user; the log names the setting if there is none",
			"%s: that users get %s (grant: %s) needs a user", r.route.Path, target, r.route.Grant)
		result.Optional = true
		return result
	}
	if _, err := src.get(ctx, nil); err != nil {
		return check.Bad(proof, "allow the client the grant client_credentials and this audience at the provider, or correct the route",
			"%s (%s): the client does not get %s: %v", r.route.Path, r.route.Setting, target, err)
	}
	return check.Good(proof, "%s: the client gets %s by client credentials", r.route.Path, target)
}
