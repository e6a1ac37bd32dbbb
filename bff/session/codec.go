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
// JSON, which makes opening a session twice as fast. In routesFormat the number of route tokens and
// the tokens stand before the claims; it is written only for sessions that have some, and only while
// all live nodes can read it.
const (
	dataFormat   = 1
	routesFormat = 2
	newestFormat = routesFormat
)

// MaxRoutes is how many route tokens a session has at most.
const MaxRoutes = 16

var errData = errors.New("session: sealed data is malformed")

// A formatError is the format of data that a newer version has written.
type formatError byte

func (e formatError) Error() string {
	return fmt.Sprintf("session: sealed data has format %d, newer than %d", byte(e), newestFormat)
}

func (t *Tokens) texts() [5]*string {
	return [...]*string{&t.Access, &t.Refresh, &t.ID, &t.Type, &t.Scope}
}

// encodeData returns the data before sealing, in dataFormat if it has no route tokens. It removes
// the oldest route tokens for which there is no room.
func encodeData(d *Data) ([]byte, error) {
	claims, err := json.Marshal(d.Claims)
	if err != nil {
		// The error could quote a claim.
		return nil, errors.New("session: claims cannot be encoded as JSON")
	}
	d.limitRoutes(maxData - len(claims))
	size := d.size() + len(claims)
	if size > maxData {
		return nil, fmt.Errorf("session: tokens and claims have %d bytes, more than %d: have the provider send fewer claims", size, maxData)
	}
	format := byte(dataFormat)
	if len(d.Routes) > 0 {
		format = routesFormat
	}
	b := append(make([]byte, 0, size), format)
	for _, s := range d.Tokens.texts() {
		b = appendText(b, *s)
	}
	b = binary.AppendVarint(b, toMillis(d.Tokens.ObtainedAt))
	b = binary.AppendVarint(b, toMillis(d.Tokens.ExpiresAt))
	if format == routesFormat {
		b = binary.AppendUvarint(b, uint64(len(d.Routes)))
		for i := range d.Routes {
			t := &d.Routes[i]
			b = appendText(appendText(b, t.Key), t.Access)
			b = binary.AppendVarint(b, toMillis(t.ObtainedAt))
			b = binary.AppendVarint(b, toMillis(t.ExpiresAt))
		}
	}
	return append(b, claims...), nil
}

// size returns how many bytes the data needs at most, without its claims.
func (d *Data) size() int {
	size := 64
	for _, s := range d.Tokens.texts() {
		size += len(*s)
	}
	for i := range d.Routes {
		size += 32 + len(d.Routes[i].Key) + len(d.Routes[i].Access)
	}
	return size
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// A dataReader reads the parts of encoded data. After an error it returns zero values.
type dataReader struct {
	rest   []byte
	failed bool
}

func (r *dataReader) text() string {
	length := r.number()
	if length > uint64(len(r.rest)) {
		r.failed = true
		return ""
	}
	s := string(r.rest[:length])
	r.rest = r.rest[length:]
	return s
}

func (r *dataReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	if r.advance(n) {
		return v
	}
	return 0
}

func (r *dataReader) time() time.Time {
	ms, n := binary.Varint(r.rest)
	if r.advance(n) {
		return fromMillis(ms)
	}
	return time.Time{}
}

// advance skips n bytes, the result of package binary. It reports whether that read a number.
func (r *dataReader) advance(n int) bool {
	r.failed = r.failed || n <= 0
	if r.failed {
		r.rest = nil
		return false
	}
	r.rest = r.rest[n:]
	return true
}

func decodeData(b []byte) (d Data, err error) {
	switch {
	case len(b) == 0 || b[0] < dataFormat:
		return Data{}, errData
	case b[0] > newestFormat:
		return Data{}, formatError(b[0])
	}
	r := dataReader{rest: b[1:]}
	for _, s := range d.Tokens.texts() {
		*s = r.text()
	}
	d.Tokens.ObtainedAt, d.Tokens.ExpiresAt = r.time(), r.time()
	if b[0] == routesFormat {
		count := r.number()
		if count == 0 || count > MaxRoutes {
			return Data{}, errData
		}
		d.Routes = make([]RouteToken, count)
		for i := range d.Routes {
			d.Routes[i] = RouteToken{Key: r.text(), Access: r.text(), ObtainedAt: r.time(), ExpiresAt: r.time()}
		}
	}
	if r.failed {
		return Data{}, errData
	}
	dec := json.NewDecoder(bytes.NewReader(r.rest))
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

// sealData seals the data of a session, and returns it as it is stored: without the route tokens
// for which there is no room, or for which not all live nodes know the format.
func (m *Manager) sealData(s *Session, d Data) ([]byte, Data, error) {
	if len(d.Routes) > 0 && !m.nodes.allRead(routesFormat) {
		d.Routes = nil
	}
	plain, err := encodeData(&d)
	if err != nil {
		return nil, Data{}, err
	}
	sealed, err := m.keys.Seal(purpose, sealContext(s.value, &s.Record), plain)
	return sealed, d, err
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
