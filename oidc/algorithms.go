package oidc

import (
	"fmt"
	"slices"
	"strings"
)

// AllowAlgorithms adds signature algorithms to those of which the provider must have a
// key: RS256, PS256, ES256 and EdDSA. A key set with a key for none of them counts as a
// failed fetch, so that it does not replace a good one. Verifiers call AllowAlgorithms when
// they are made; before the first call a key for any of the four is enough.
func (p *Provider) AllowAlgorithms(algorithms ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, algorithm := range algorithms {
		if !slices.Contains(p.allowed, algorithm) {
			p.allowed = append(p.allowed, algorithm)
		}
	}
}

// KeyAlgorithms returns the signature algorithms of tokens for which the provider has
// keys: of RS256, PS256, ES256 and EdDSA, in this order. An RSA key without an "alg"
// counts for two. While there is no key set, they are those of the last set that was
// refused for them (see [Provider.AllowAlgorithms]), nil for none.
func (p *Provider) KeyAlgorithms() []string {
	if set := p.set.Load(); set != nil {
		return set.algorithms()
	}
	if refused := p.refused.Load(); refused != nil {
		return *refused
	}
	return nil
}

// fit returns an error for a key set without a key for any allowed algorithm.
func (p *Provider) fit(set *keySet) error {
	p.mu.Lock()
	allowed := slices.Clone(p.allowed)
	p.mu.Unlock()
	have := set.algorithms()
	if len(allowed) == 0 || slices.ContainsFunc(have, func(algorithm string) bool { return slices.Contains(allowed, algorithm) }) {
		return nil
	}
	p.refused.Store(&have)
	return fmt.Errorf("keys for %s only, and none for %s", strings.Join(have, ", "), strings.Join(allowed, ", "))
}
