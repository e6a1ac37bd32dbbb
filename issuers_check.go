package gatehouse

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/token"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// checkIssuers asks all issuers of the list for their keys at once, since some may not
// answer.
func (p *parts) checkIssuers(ctx context.Context) []check.Result {
	results := make([]check.Result, len(p.issuers))
	var wg sync.WaitGroup
	for i := range p.issuers {
		wg.Go(func() { results[i] = p.checkIssuer(ctx, i) })
	}
	wg.Wait()
	return results
}

func (p *parts) checkIssuer(ctx context.Context, i int) check.Result {
	c, from := &p.issuers[i], &p.cfg.Issuers[i]
	key := func(name string) string { return fmt.Sprintf("issuers[%d].%s", i, name) }
	proof := "issuer " + c.Provider.Issuer()
	if c.Provider == p.provider {
		return check.Good(proof, "issuer %s: users sign in there; its tokens have rules of their own; %s", c.Provider.Issuer(), permitted(c))
	}
	err := c.Provider.Refresh(ctx)
	if err := token.KeysFit(c.Provider, c.Algorithms, key("algorithms")); err != nil {
		return check.Bad(proof, "", "issuer %s: %v", c.Provider.Issuer(), err)
	}
	if err != nil {
		problem, remedy := cause.Of(err)
		what := err.Error()
		if problem != "" {
			what = problem + " (" + what + ")"
		}
		switch {
		case from.JWKSFile != "":
			remedy = "write the issuer's key set into the file " + key("jwks-file")
		case strings.Contains(what, "certificate"):
			remedy = "give the file of the issuer's authorities as " + key("ca-file")
		case strings.Contains(what, "status 401"), strings.Contains(what, "status 403"):
			remedy = "give a file with a token that the issuer accepts as " + key("bearer-token-file")
		case from.JWKSURL != "":
			remedy = joined(remedy, "correct "+key("jwks-url")+", or let this machine reach it")
		default:
			remedy = joined(remedy, "correct "+key("issuer")+", let this machine reach it, or give the address of its key set as "+key("jwks-url"))
		}
		return check.Bad(proof, remedy, "issuer %s: no keys, so that its tokens get 503: %s", c.Provider.Issuer(), what)
	}
	return check.Good(proof, "issuer %s: its key set has keys that can be used (%s); %s", c.Provider.Issuer(), strings.Join(c.Provider.KeyAlgorithms(), ", "), permitted(c))
}

func joined(remedy, more string) string {
	if remedy == "" {
		return more
	}
	return remedy + "; " + more
}

// permitted says whose tokens an issuer has and what they may do.
func permitted(c *authn.IssuerConfig) string {
	if c.Class != authn.Machines {
		return "its tokens are those of users"
	}
	var grants []string
	for _, g := range c.Grants {
		var where []string
		for _, name := range slices.Sorted(maps.Keys(g.Where)) {
			where = append(where, name+"="+g.Where[name])
		}
		grants = append(grants, strings.Join(where, " and ")+" gives "+strings.Join(slices.Concat(g.Permissions, g.Scopes), ", "))
	}
	return "its tokens are those of machines: " + strings.Join(grants, "; ")
}

// primaryRules are the rules for the tokens of the issuer that users sign in at, if they are
// in the list.
func (p *parts) primaryRules() (rules []token.AccessIssuer[struct{}]) {
	for i := range p.issuers {
		if c := &p.issuers[i]; c.Provider == p.provider {
			rules = append(rules, token.AccessIssuer[struct{}]{
				Provider: c.Provider, Audiences: c.Audiences, AudienceClaim: c.AudienceClaim,
				Algorithms: c.Algorithms, Types: c.RequireTypes, IDTokenClients: c.IDTokenClients, Principal: noPrincipal,
			})
		}
	}
	return rules
}

func noPrincipal(*token.Claims) (struct{}, error) { return struct{}{}, nil }
