package gatehouse

import (
	"fmt"
	"slices"

	"github.com/gatehouse-dev/gatehouse/internal/suggest"
	"github.com/gatehouse-dev/gatehouse/server/authn"
)

// unmatchedCallers returns what in the policies and in the issuers of machines has no
// counterpart: classes that no issuer or no method is of, and permissions and scopes that
// are granted and that no policy names.
func unmatchedCallers(rules []authn.Rule, issuers []authn.IssuerConfig) (findings []string) {
	var admitting []string
	for _, r := range rules {
		if slices.Contains(r.Callers, authn.Machines) {
			admitting = append(admitting, r.Method)
		}
	}
	machines := slices.DeleteFunc(slices.Clone(issuers), func(c authn.IssuerConfig) bool { return c.Class != authn.Machines })
	switch {
	case len(machines) == 0 && len(admitting) > 0:
		return []string{fmt.Sprintf("%s admits machines, and there is no issuer of that class", admitting[0])}
	case len(machines) > 0 && len(admitting) == 0:
		return []string{fmt.Sprintf("tokens of %s open no method: no policy has CALLERS_MACHINES", machines[0].Provider.Issuer())}
	}
	permissions := named(rules, func(r authn.Rule) []string { return r.Permissions })
	scopes := named(rules, func(r authn.Rule) []string { return r.Scopes })
	for _, c := range machines {
		for _, grant := range c.Grants {
			findings = append(findings, unnamed(c.Provider.Issuer(), "permission", grant.Permissions, permissions)...)
			findings = append(findings, unnamed(c.Provider.Issuer(), "scope", grant.Scopes, scopes)...)
		}
	}
	return findings
}

// unnamed returns a finding for each granted value that no policy names.
func unnamed(issuer, kind string, granted, known []string) (findings []string) {
	for _, value := range granted {
		if slices.Contains(known, value) {
			continue
		}
		text := fmt.Sprintf("a grant of %s has the %s %q, which no policy names", issuer, kind, value)
		if name := suggest.Name(value, known); name != "" {
			text += "; did you mean " + name + "?"
		}
		findings = append(findings, text)
	}
	return findings
}
