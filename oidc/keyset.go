package oidc

import (
	"crypto"
	"maps"
	"slices"
	"sync/atomic"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
)

// A Key is a signing key of the provider. It is the same object for as long as
// the provider publishes the key, through any number of fetches, so that what
// was verified with it can be cached with the pointer.
type Key struct {
	// ID is the key's "kid"; "" if it has none.
	ID string
	// Algorithm is the key's "alg", such as "RS256"; "" if it has none.
	Algorithm string
	// Public is the key: an *rsa.PublicKey, an *ecdsa.PublicKey on P-256, or an
	// ed25519.PublicKey.
	Public crypto.PublicKey

	withdrawn atomic.Bool
}

// Withdrawn reports whether the provider has stopped publishing the key. It
// never becomes false again.
func (k *Key) Withdrawn() bool { return k.withdrawn.Load() }

// same reports whether two keys are equal, "kid" and "alg" included.
func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && public.Equal(other.Public)
}

// A keySet is what the provider published at one time. It is immutable, except
// for Key.withdrawn.
type keySet struct {
	keys      []*Key
	byID      map[string][]*Key
	sole      []*Key // each the only one for one algorithm, for tokens without a kid
	uri       string
	etag      string
	confirmed time.Time // when the provider last returned this set, or "not modified"
}

// usable reports whether the set may be used at now. After hardTTL without
// confirmation it may contain keys that were withdrawn because they were stolen.
func (s *keySet) usable(now time.Time) bool {
	return s != nil && now.Sub(s.confirmed) < hardTTL
}

// parseKeySet reads a key set. skipped says, for the log, which keys were left
// out and why. A set without a usable key is an error.
func parseKeySet(body []byte) (set *keySet, skipped string, err error) {
	parsed, skipped, err := jwk.ParseSet(body)
	if err != nil {
		return nil, "", err
	}
	set = &keySet{byID: make(map[string][]*Key)}
	for _, k := range parsed {
		set.add(&Key{ID: k.ID, Algorithm: k.Algorithm, Public: k.Public})
	}
	return set, skipped, nil
}

func (s *keySet) add(k *Key) {
	s.keys = append(s.keys, k)
	if k.ID != "" {
		s.byID[k.ID] = append(s.byID[k.ID], k)
	}
}

// copy returns an equal set with keys of its own. A response "not modified" may
// confirm a set that another response has replaced meanwhile, and the keys of
// that one stay withdrawn.
func (s *keySet) copy() *keySet {
	c := &keySet{uri: s.uri, etag: s.etag, byID: make(map[string][]*Key, len(s.byID))}
	for _, k := range s.keys {
		c.add(&Key{ID: k.ID, Algorithm: k.Algorithm, Public: k.Public})
	}
	return c
}

// kids returns the ids of the keys in order, without the empty one.
func (s *keySet) kids() []string { return slices.Sorted(maps.Keys(s.byID)) }

// find returns the equal key of the set, nil if there is none.
func (s *keySet) find(k *Key) *Key {
	for _, have := range s.keys {
		if have.same(k) {
			return have
		}
	}
	return nil
}

// signs reports whether the key can have made signatures of an algorithm.
func (k *Key) signs(algorithm string) bool { return jwk.Fits(algorithm, k.Public, k.Algorithm) }

// algorithms returns the algorithms of the keys.
func (s *keySet) algorithms() []string {
	return slices.DeleteFunc(jwk.Algorithms(), func(algorithm string) bool {
		return !slices.ContainsFunc(s.keys, func(k *Key) bool { return k.signs(algorithm) })
	})
}

// findSole sets s.sole.
func (s *keySet) findSole() {
	s.sole = nil
	for _, algorithm := range jwk.Algorithms() {
		var fit []*Key
		for _, k := range s.keys {
			if k.signs(algorithm) {
				fit = append(fit, k)
			}
		}
		if len(fit) == 1 && !slices.Contains(s.sole, fit[0]) {
			s.sole = append(s.sole, fit[0])
		}
	}
}

// inherit replaces keys by the equal ones of an earlier set. It returns the keys
// of earlier that are gone, and whether a key is new.
func (s *keySet) inherit(earlier *keySet) (gone []*Key, added bool) {
	if earlier == nil {
		return nil, true
	}
	kept := make(map[*Key]bool, len(s.keys))
	for i, k := range s.keys {
		have := earlier.find(k)
		if have == nil {
			added = true
			continue
		}
		kept[have] = true
		s.keys[i] = have
		for j := range s.byID[k.ID] {
			if s.byID[k.ID][j] == k {
				s.byID[k.ID][j] = have
			}
		}
	}
	for _, k := range earlier.keys {
		if !kept[k] {
			gone = append(gone, k)
		}
	}
	return gone, added
}
