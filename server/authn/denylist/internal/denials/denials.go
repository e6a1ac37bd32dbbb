// Package denials owns what a denylist holds: denials, their names, and a bounded
// set of them in memory. It serves the list of one process and the mirror of a
// shared one. Sharing them is left to package redis.
package denials

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Leeway is how long after its expiry a token is still accepted, since clocks
// differ. A denial lasts as much longer.
const Leeway = time.Minute

// A Kind is the first letter of the names of what is denied.
type Kind byte

// The kinds.
const (
	Session Kind = 's'
	TokenID Kind = 'j'
	Subject Kind = 'u'
)

const kinds = "sju"

// index returns the number of the kind, -1 if it is invalid.
func (k Kind) index() int { return strings.IndexByte(kinds, byte(k)) }

// String returns the claim that names what is denied.
func (k Kind) String() string {
	switch k {
	case Session:
		return "sid"
	case TokenID:
		return "jti"
	default:
		return "sub"
	}
}

// A Name is a session, token or subject of an issuer, as a sum, so that neither
// Redis nor the process has the name itself.
type Name struct {
	Kind Kind
	sum  [sha256.Size]byte
}

// NewName allocates only if issuer and value together are longer than 251 bytes.
func NewName(k Kind, issuer, value string) Name {
	var room [256]byte
	b := append(room[:0], byte(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(issuer))) // or "ab", "c" would be "a", "bc"
	b = append(b, issuer...)
	b = append(b, value...)
	return Name{k, sha256.Sum256(b)}
}

// String is the name's key in Redis, after the prefix.
func (n Name) String() string {
	return string(n.Kind) + ":" + base64.RawURLEncoding.EncodeToString(n.sum[:])
}

// ParseName returns the name of a String.
func ParseName(s string) (Name, error) {
	var n Name
	letter, sum, ok := strings.Cut(s, ":")
	if !ok || len(letter) != 1 || Kind(letter[0]).index() < 0 || len(sum) != base64.RawURLEncoding.EncodedLen(len(n.sum)) {
		return Name{}, fmt.Errorf("malformed name of a denial %q", s)
	}
	n.Kind = Kind(letter[0])
	if _, err := base64.RawURLEncoding.Strict().Decode(n.sum[:], []byte(sum)); err != nil {
		return Name{}, fmt.Errorf("malformed name of a denial %q", s)
	}
	return n, nil
}

// A Denial has its end and, of a subject, the latest issue time that it refuses.
// Times are milliseconds since 1970.
type Denial struct {
	Until int64 // the end, including the leeway
	At    int64 // of a subject: tokens issued later are accepted
}

// Covers reports whether a denial of a kind refuses a token issued then. The zero
// time, of a token without "iat", is before all others.
func (d Denial) Covers(k Kind, issuedAt time.Time) bool {
	return k != Subject || issuedAt.UnixMilli() <= d.At
}

// merge returns a denial that refuses all tokens that either refuses. The order
// in which changes arrive does not matter.
func (d Denial) merge(e Denial) Denial {
	return Denial{Until: max(d.Until, e.Until), At: max(d.At, e.At)}
}

// String is the denial's value in Redis.
func (d Denial) String() string {
	return strconv.FormatInt(d.Until, 10) + " " + strconv.FormatInt(d.At, 10)
}

// ParseDenial returns the denial of a String.
func ParseDenial(s string) (Denial, error) {
	until, at, _ := strings.Cut(s, " ")
	var d Denial
	var err error
	if d.Until, err = strconv.ParseInt(until, 10, 64); err == nil {
		d.At, err = strconv.ParseInt(at, 10, 64)
	}
	if err != nil {
		return Denial{}, fmt.Errorf("malformed denial %q", s)
	}
	return d, nil
}

// An Entry is a denial and its name.
type Entry struct {
	Name   Name
	Denial Denial
}
