package oidc

import (
	"crypto"
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
	// Algorithm is the JWS algorithm that the key is for, such as "RS256".
	Algorithm string
	// Public is the key: an *rsa.PublicKey.
	Public crypto.PublicKey

	withdrawn atomic.Bool
}

// Withdrawn reports whether the provider has stopped publishing the key. It
// never becomes false again.
func (k *Key) Withdrawn() bool { return k.withdrawn.Load() }

func (k *Key) same(other *Key) bool {
	public, ok := k.Public.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.ID == other.ID && k.Algorithm == other.Algorithm && public.Equal(other.Public)
}

// keySet is what the provider published at one time. Nothing in it changes once it is reachable, except withdrawn.
type keySet struct {
	keys      []*Key
	byID      map[string][]*Key
	uri       string
	etag      string
	confirmed time.Time // when the provider last said that this is its set
}

// usable says whether the set may still be believed at now: hardTTL after the provider last confirmed it, a key that was
// withdrawn because it was stolen must not work any longer, come what may.
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

// copy returns an equal set that shares nothing which changes: an answer "not modified" may confirm a set that another
// answer has replaced in the meantime, whose keys are retired for good.
func (s *keySet) copy() *keySet {
	c := &keySet{uri: s.uri, etag: s.etag, byID: make(map[string][]*Key, len(s.byID))}
	for _, k := range s.keys {
		c.add(&Key{ID: k.ID, Algorithm: k.Algorithm, Public: k.Public})
	}
	return c
}

func (s *keySet) find(k *Key) *Key {
	for _, have := range s.keys {
		if have.same(k) {
			return have
		}
	}
	return nil
}

// inherit puts the objects of an earlier set in the place of equal keys, and returns the keys of earlier that are gone,
// and whether any key is new.
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
