package gatehousetest

import (
	"crypto/rand"
	"crypto/rsa"
	"sync"
)

// A keyring has signing keys that all systems of a process use, each in the same order. To generate
// one takes most of the time of a start. A token of one system is no token of another, because
// their issuers differ.
type keyring struct {
	mu   sync.Mutex
	keys []*rsa.PrivateKey
}

var keys keyring

// next returns a function that returns one key after the other.
func (k *keyring) next() func() (*rsa.PrivateKey, error) {
	used := 0
	return func() (*rsa.PrivateKey, error) {
		k.mu.Lock()
		defer k.mu.Unlock()
		if used == len(k.keys) {
			key, err := rsa.GenerateKey(rand.Reader, 2048)
			if err != nil {
				return nil, err
			}
			k.keys = append(k.keys, key)
		}
		used++
		return k.keys[used-1], nil
	}
}
