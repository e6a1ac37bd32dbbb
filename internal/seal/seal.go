// Package seal owns authenticated encryption under a rotating secret: what is sealed can be read and altered by nobody
// without the secret, and the secret can be replaced without anybody noticing. Where sealed values are kept, how long they
// are good for and what they mean is left to the caller.
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

// Overhead is by how many bytes a sealed value is longer than its plaintext.
const Overhead = headerSize + tagSize

// A sealed value is
//
//	version (1) ‖ key ID (4) ‖ random (24) ‖ AES-256-GCM ciphertext and tag (16)
//
// The first half of the random bytes goes into the key derivation and the second is the GCM nonce. So every value has a
// key of its own, and the 2³² messages after which random 96-bit nonces under one key become unsafe (NIST SP 800-38D §8.3)
// are out of reach even for purposes without a salt.
const (
	// Version is the first byte of what Seal makes, and the only one that Open accepts.
	Version    = 1
	hintSize   = 4
	randomSize = 24
	headerSize = 1 + hintSize + randomSize
	tagSize    = 16
)

// ErrOpen says that a value could not be opened. It deliberately does not tell a value that was altered from one that is
// malformed, was sealed for another purpose or salt, or under a secret that is no longer in the keyring.
var ErrOpen = errors.New("seal: the value cannot be opened")

// A KeyID tells the secrets of an installation apart. It is derived from the secret, stands in the clear in every sealed
// value, and gives nothing of the secret away. Two secrets share one once in 2³².
type KeyID [hintSize]byte

// String is the ID in hexadecimal digits.
func (id KeyID) String() string { return hex.EncodeToString(id[:]) }

// Keyring holds the secrets: one of them seals, at first the first, and all of them open. It is safe for concurrent use.
type Keyring struct {
	keys []key
	// sealing is the index of the key that seals.
	sealing atomic.Int32
}

type key struct {
	// prk is HKDF-Extract of the secret; every purpose and salt expands from it.
	prk []byte
	id  KeyID
}

// Validate returns what is wrong with a list of secrets, joined, as errors about a field Secrets or its elements. There
// must be one, and each must have at least 32 characters and not be an evident placeholder. No error shows a secret.
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

// NewKeyring makes a keyring of secrets, newest first. Its errors are those of [Validate].
func NewKeyring(secrets ...string) (*Keyring, error) {
	if err := Validate(secrets); err != nil {
		return nil, err
	}
	k := &Keyring{keys: make([]key, 0, len(secrets))}
	for i, secret := range secrets {
		prk, err := hkdf.Extract(sha256.New, []byte(secret), []byte("gatehouse seal v1"))
		if err != nil {
			return nil, fmt.Errorf("seal: derive a key from secret %d: %w", i, err)
		}
		hint, err := hkdf.Expand(sha256.New, prk, "hint", hintSize)
		if err != nil {
			return nil, fmt.Errorf("seal: derive the id of secret %d: %w", i, err)
		}
		k.keys = append(k.keys, key{prk: prk, id: KeyID(hint)})
	}
	return k, nil
}

// IDs are those of the keys, newest first.
func (k *Keyring) IDs() []KeyID {
	ids := make([]KeyID, len(k.keys))
	for i := range k.keys {
		ids[i] = k.keys[i].id
	}
	return ids
}

// Sealing is the ID of the key that seals.
func (k *Keyring) Sealing() KeyID { return k.keys[k.sealing.Load()].id }

// SealWith has one of the keys seal from now on. It panics if there is no such key.
func (k *Keyring) SealWith(id KeyID) {
	i := slices.IndexFunc(k.keys, func(key key) bool { return key.id == id })
	if i < 0 {
		panic("seal: no such key in the keyring")
	}
	k.sealing.Store(int32(i))
}

// Header returns the format of a sealed value, and the key that it is sealed under if it is of [Version]. Neither is
// authenticated.
func Header(sealed []byte) (format byte, id KeyID) {
	if len(sealed) == 0 {
		return 0, KeyID{}
	}
	if format = sealed[0]; format == Version && len(sealed) >= headerSize {
		id = KeyID(sealed[1:])
	}
	return format, id
}

// Seal encrypts and authenticates plaintext for one purpose under the key that seals. The salt may be nil; otherwise it is
// mixed into the key, so that whoever has the secret but not the salt opens nothing. The purpose is a constant of the
// caller, such as "session"; a value sealed for one purpose does not open for another.
func (k *Keyring) Seal(purpose string, salt, plaintext []byte) ([]byte, error) {
	key := &k.keys[k.sealing.Load()]
	sealed := make([]byte, headerSize, headerSize+len(plaintext)+tagSize)
	sealed[0] = Version
	copy(sealed[1:], key.id[:])
	random := sealed[1+hintSize : headerSize]
	// crypto/rand never fails: it crashes the process rather than return predictable bytes.
	_, _ = rand.Read(random)
	aead, err := key.derive(purpose, salt, random[:randomSize/2])
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return aead.Seal(sealed, random[randomSize/2:], plaintext, sealed[:headerSize]), nil
}

// Open returns the plaintext of a value that Seal made for the same purpose and salt under any secret of the keyring, and
// [ErrOpen] for everything else. The key ID picks the secret, so many secrets cost no more than one.
func (k *Keyring) Open(purpose string, salt, sealed []byte) ([]byte, error) {
	if len(sealed) < Overhead || sealed[0] != Version {
		return nil, ErrOpen
	}
	random := sealed[1+hintSize : headerSize]
	for i := range k.keys {
		if k.keys[i].id != KeyID(sealed[1:]) {
			continue
		}
		aead, err := k.keys[i].derive(purpose, salt, random[:randomSize/2])
		if err != nil {
			return nil, ErrOpen
		}
		plaintext, err := aead.Open(nil, random[randomSize/2:], sealed[headerSize:], sealed[:headerSize])
		if err == nil {
			return plaintext, nil
		}
		// Two secrets share an ID once in 2³²: go on and try the other.
	}
	return nil, ErrOpen
}

// derive expands the key of one sealed value. Purpose and salt are preceded by their lengths, so that no two pairs of them
// run together into the same input.
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

// String shows how many secrets there are and nothing of them.
func (k *Keyring) String() string { return fmt.Sprintf("seal.Keyring(%d secrets)", len(k.keys)) }

// Format is String for every verb, so that neither %#v nor %x shows a key.
func (k *Keyring) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// LogValue is String, for log/slog.
func (k *Keyring) LogValue() slog.Value { return slog.StringValue(k.String()) }
