// Package seal owns authenticated encryption under secrets that can be rotated. It
// leaves storage, lifetime and meaning of sealed values to its callers.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
)

// Overhead is the difference in length of a sealed value and its plaintext, in
// bytes.
const Overhead = headerSize + tagSize

// A sealed value is
//
//	version (1) ‖ key ID (4) ‖ random (24) ‖ AES-256-GCM ciphertext and tag (16)
//
// The first half of the random bytes is used in the key derivation, the second half
// is the GCM nonce. So each value has its own key, and the limit of 2³² messages
// for random 96-bit nonces under one key (NIST SP 800-38D §8.3) is never reached,
// also not without a salt.
const (
	// Version is the first byte of a sealed value. Open accepts no other.
	Version    = 1
	hintSize   = 4
	randomSize = 24
	headerSize = 1 + hintSize + randomSize
	tagSize    = 16
)

// ErrOpen is the error for a value that cannot be opened: altered, malformed,
// sealed for another purpose or salt, or under a secret that is not in the keyring.
// It deliberately does not tell which.
var ErrOpen = errors.New("seal: the value cannot be opened")

// A KeyID identifies a secret. It is derived from the secret, does not reveal it,
// and is in the clear in each sealed value. Two secrets have the same ID with a
// probability of 2⁻³².
type KeyID [hintSize]byte

// String returns the ID in hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// A Keyring holds the secrets. One of them seals, initially the first; all of them
// open. It is safe for concurrent use.
type Keyring struct {
	ring atomic.Pointer[ring]
}

// A ring is the content of a Keyring. It never changes.
type ring struct {
	keys    []key
	sealing int // the index of the key that seals
}

type key struct {
	// prk is HKDF-Extract of the secret; the keys of all purposes and salts expand
	// from it.
	prk []byte
	id  KeyID
}

// Validate returns what is wrong with a list of secrets, as joined errors about a
// field Secrets or its elements. There must be at least one secret, and each must
// have at least 32 characters and not be an obvious placeholder. Errors contain no
// secret.
func Validate(secrets []string) error {
	if len(secrets) == 0 {
		return invalid.Missing("Secrets", remedy)
	}
	var errs []error
	for i, secret := range secrets {
		if problem := Weakness(secret); problem != "" {
			errs = append(errs, &invalid.Error{Field: fmt.Sprintf("Secrets[%d]", i), Problem: problem, Remedy: remedy})
		}
	}
	return errors.Join(errs...)
}

// NewKeyring returns a keyring of secrets, newest first. Its errors are those of
// [Validate].
func NewKeyring(secrets ...string) (*Keyring, error) {
	r, err := newRing(secrets)
	if err != nil {
		return nil, err
	}
	k := &Keyring{}
	k.ring.Store(r)
	return k, nil
}

func newRing(secrets []string) (*ring, error) {
	if err := Validate(secrets); err != nil {
		return nil, err
	}
	r := &ring{keys: make([]key, 0, len(secrets))}
	for i, secret := range secrets {
		prk, err := hkdf.Extract(sha256.New, []byte(secret), []byte("gatehouse seal v1"))
		if err != nil {
			return nil, fmt.Errorf("seal: derive a key from secret %d: %w", i, err)
		}
		hint, err := hkdf.Expand(sha256.New, prk, "hint", hintSize)
		if err != nil {
			return nil, fmt.Errorf("seal: derive the id of secret %d: %w", i, err)
		}
		r.keys = append(r.keys, key{prk: prk, id: KeyID(hint)})
	}
	return r, nil
}

// IDs returns the IDs of the keys, newest first.
func (k *Keyring) IDs() []KeyID {
	keys := k.ring.Load().keys
	ids := make([]KeyID, len(keys))
	for i := range keys {
		ids[i] = keys[i].id
	}
	return ids
}

// Sealing returns the ID of the key that seals.
func (k *Keyring) Sealing() KeyID {
	r := k.ring.Load()
	return r.keys[r.sealing].id
}

// SealWith sets the key that seals. It panics if there is no such key. It must not
// be called at the same time as Replace.
func (k *Keyring) SealWith(id KeyID) {
	r := *k.ring.Load()
	if r.sealing = r.find(id); r.sealing < 0 {
		panic("seal: no such key in the keyring")
	}
	k.ring.Store(&r)
}

// Replace replaces the secrets by those of another keyring. The key that seals still
// does if it is among them; otherwise the first one does.
func (k *Keyring) Replace(by *Keyring) {
	r := *by.ring.Load()
	r.sealing = max(0, r.find(k.Sealing()))
	k.ring.Store(&r)
}

func (r *ring) find(id KeyID) int {
	return slices.IndexFunc(r.keys, func(key key) bool { return key.id == id })
}

// Header returns the format of a sealed value and, for [Version], the key that it
// is sealed under. Neither is authenticated.
func Header(sealed []byte) (format byte, id KeyID) {
	if len(sealed) == 0 {
		return 0, KeyID{}
	}
	if format = sealed[0]; format == Version && len(sealed) >= headerSize {
		id = KeyID(sealed[1:])
	}
	return format, id
}

// Seal encrypts and authenticates plaintext for one purpose under the key that
// seals. The purpose is a constant of the caller, such as "session"; a value sealed
// for one purpose does not open for another. The salt may be nil; otherwise it is
// part of the key, so that the secret alone does not open the value.
func (k *Keyring) Seal(purpose string, salt, plaintext []byte) ([]byte, error) {
	r := k.ring.Load()
	key := &r.keys[r.sealing]
	sealed := make([]byte, headerSize, headerSize+len(plaintext)+tagSize)
	sealed[0] = Version
	copy(sealed[1:], key.id[:])
	random := sealed[1+hintSize : headerSize]
	// crypto/rand.Read does not return errors: it ends the process instead.
	_, _ = rand.Read(random)
	aead, err := key.derive(purpose, salt, random[:randomSize/2])
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead.Seal(sealed, random[randomSize/2:], plaintext, sealed[:headerSize]), nil
}

// Open returns the plaintext of a value that was sealed for the same purpose and
// salt under any secret of the keyring, and otherwise [ErrOpen]. The key ID selects
// the secret, so the number of secrets does not matter.
func (k *Keyring) Open(purpose string, salt, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != Version {
		return nil, ErrOpen
	}
	random := sealed[1+hintSize : headerSize]
	keys := k.ring.Load().keys
	for i := range keys {
		if keys[i].id != KeyID(sealed[1:]) {
			continue
		}
		aead, err := keys[i].derive(purpose, salt, random[:randomSize/2])
		if err != nil {
			return nil, ErrOpen
		}
		plaintext, err := aead.Open(nil, random[randomSize/2:], sealed[headerSize:], sealed[:headerSize])
		if err == nil {
			return plaintext, nil
		}
		// Another secret may have the same ID.
	}
	return nil, ErrOpen
}

// derive expands the key of one sealed value. Purpose and salt are preceded by
// their lengths, so that different pairs give different inputs.
func (k *key) derive(purpose string, salt, random []byte) (cipher.AEAD, error) {
	info := make([]byte, 0, 32+len(purpose)+len(salt)+len(random))
	info = append(info, "seal"...)
	info = appendLength(info, len(purpose))
	info = append(info, purpose...)
	info = appendLength(info, len(salt))
	info = append(info, salt...)
	info = append(info, random...)
	derived, err := hkdf.Expand(sha256.New, k.prk, string(info), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func appendLength(b []byte, n int) []byte {
	return append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// String returns the number of secrets, and nothing of them.
func (k *Keyring) String() string {
	return fmt.Sprintf("seal.Keyring(%d secrets)", len(k.ring.Load().keys))
}

// Format writes String for every verb, so that neither %#v nor %x shows a key.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue returns String, for log/slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
