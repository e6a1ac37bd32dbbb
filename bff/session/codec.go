package session

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// purpose separates session data from other values sealed under the same secret.
const purpose = "session data"

// maxData bounds the data of a session, in bytes. ID tokens of 64 KiB with their claims fit.
const maxData = 256 << 10

// Stored data is a byte for the format, the texts of Tokens each preceded by its length, the two
// times in milliseconds, and the claims as JSON. The tokens are most of the bytes and not in the
// JSON, which makes opening a session twice as fast.
const dataFormat = 1

var errData = errors.New("session: sealed data is malformed")

// A formatError is the format of data that a newer version has written.
type formatError byte

func (e formatError) Error() string {
	return fmt.Sprintf("session: sealed data has format %d, newer than %d", byte(e), dataFormat)
}

func (t *Tokens) texts() [5]*string {
	return [...]*string{&t.Access, &t.Refresh, &t.ID, &t.Type, &t.Scope}
}

func encodeData(d Data) ([]byte, error) {
	claims, err := json.Marshal(d.Claims)
	if err != nil {
		// The error could quote a claim.
		return nil, errors.New("session: claims cannot be encoded as JSON")
	}
	size := 64 + len(claims)
	for _, s := range d.Tokens.texts() {
		size += len(*s)
	}
	if size > maxData {
		return nil, fmt.Errorf("session: tokens and claims have %d bytes, more than %d: have the provider send fewer claims", size, maxData)
	}
	b := append(make([]byte, 0, size), dataFormat)
	for _, s := range d.Tokens.texts() {
		b = binary.AppendUvarint(b, uint64(len(*s)))
		b = append(b, *s...)
	}
	b = binary.AppendVarint(b, toMillis(d.Tokens.ObtainedAt))
	b = binary.AppendVarint(b, toMillis(d.Tokens.ExpiresAt))
	return append(b, claims...), nil
}

func decodeData(b []byte) (d Data, err error) {
	switch {
	case len(b) == 0 || b[0] < dataFormat:
		return Data{}, errData
	case b[0] > dataFormat:
		return Data{}, formatError(b[0])
	}
	b = b[1:]
	for _, s := range d.Tokens.texts() {
		length, n := binary.Uvarint(b)
		if n <= 0 || length > uint64(len(b)-n) {
			return Data{}, errData
		}
		*s, b = string(b[n:n+int(length)]), b[n+int(length):]
	}
	for _, t := range [...]*time.Time{&d.Tokens.ObtainedAt, &d.Tokens.ExpiresAt} {
		ms, n := binary.Varint(b)
		if n <= 0 {
			return Data{}, errData
		}
		*t, b = fromMillis(ms), b[n:]
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	if err := dec.Decode(&d.Claims); err != nil {
		return Data{}, errData
	}
	if _, err := dec.Token(); err != io.EOF {
		return Data{}, errData
	}
	return d, nil
}

// sealContext returns what the key of a session's seal is derived from besides the secret: the
// cookie value, so that the store and the secret together open nothing, and the fields of the
// record that never change, so that an attacker who can write to the store can neither move a
// sealed value to another record, nor change a subject, nor extend a session.
func sealContext(v *cookieValue, r *Record) []byte {
	h := sha256.New()
	var n [8]byte
	number := func(i int64) {
		binary.BigEndian.PutUint64(n[:], uint64(i))
		h.Write(n[:])
	}
	for _, s := range [...]string{r.Issuer, r.Subject, r.SID} {
		number(int64(len(s)))
		io.WriteString(h, s)
	}
	number(toMillis(r.CreatedAt))
	number(toMillis(r.ExpiresAt))
	context := make([]byte, 0, len(v)+sha256.Size)
	context = append(context, v[:]...)
	return h.Sum(context)
}

// Seal seals a value for a browser to keep, under the newest secret that all live nodes have. A
// value sealed for one purpose does not open for another; the salt may be nil.
func (m *Manager) Seal(purpose string, salt, plaintext []byte) ([]byte, error) {
	return m.keys.Seal(purpose, salt, plaintext)
}

// Open opens a value that Seal has sealed for the same purpose and salt, under any of the secrets.
func (m *Manager) Open(purpose string, salt, sealed []byte) ([]byte, error) {
	return m.keys.Open(purpose, salt, sealed)
}

func (m *Manager) sealData(s *Session, d Data) ([]byte, error) {
	plain, err := encodeData(d)
	if err != nil {
		return nil, err
	}
	return m.keys.Seal(purpose, sealContext(s.value, &s.Record), plain)
}

func (m *Manager) openData(value *cookieValue, r *Record) (Data, error) {
	plain, err := m.keys.Open(purpose, sealContext(value, r), r.Sealed)
	if err != nil {
		return Data{}, err
	}
	return decodeData(plain)
}

func toMillis(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMilli()
}

func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}
