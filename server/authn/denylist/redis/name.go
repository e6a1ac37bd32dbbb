package redis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// A kind is the first letter of the keys of what is denied.
type kind byte

const (
	session kind = 's'
	tokenID kind = 'j'
	subject kind = 'u'
)

// index returns the number of the kind, -1 if it is invalid.
func (k kind) index() int { return strings.IndexByte("sju", byte(k)) }

func (k kind) String() string {
	switch k {
	case session:
		return "sid"
	case tokenID:
		return "jti"
	default:
		return "sub"
	}
}

// A name is a session, token or subject of an issuer, as a sum, so that neither
// Redis nor the mirror has the name itself.
type name struct {
	kind kind
	sum  [sha256.Size]byte
}

// newName allocates only if issuer and value together are longer than 251 bytes.
func newName(k kind, issuer, value string) name {
	var room [256]byte
	b := append(room[:0], byte(k))
	b = binary.BigEndian.AppendUint32(b, uint32(len(issuer))) // or "ab", "c" would be "a", "bc"
	b = append(b, issuer...)
	b = append(b, value...)
	return name{k, sha256.Sum256(b)}
}

// String is the name's key in Redis, after the prefix.
func (n name) String() string {
	return string(n.kind) + ":" + base64.RawURLEncoding.EncodeToString(n.sum[:])
}

func parseName(s string) (name, error) {
	var n name
	letter, sum, ok := strings.Cut(s, ":")
	if !ok || len(letter) != 1 || kind(letter[0]).index() < 0 || len(sum) != base64.RawURLEncoding.EncodedLen(len(n.sum)) {
		return name{}, fmt.Errorf("malformed name of a denial %q", s)
	}
	n.kind = kind(letter[0])
	if _, err := base64.RawURLEncoding.Strict().Decode(n.sum[:], []byte(sum)); err != nil {
		return name{}, fmt.Errorf("malformed name of a denial %q", s)
	}
	return n, nil
}

// A denial has its end and, of a subject, the latest issue time that it refuses.
// Times are milliseconds since 1970.
type denial struct {
	until int64 // the end, including the leeway
	at    int64 // of a subject: tokens issued later are accepted
}

// merge returns a denial that refuses all tokens that either refuses. The order
// in which changes arrive does not matter.
func (d denial) merge(e denial) denial {
	return denial{until: max(d.until, e.until), at: max(d.at, e.at)}
}

// String is the denial's value in Redis.
func (d denial) String() string {
	return strconv.FormatInt(d.until, 10) + " " + strconv.FormatInt(d.at, 10)
}

func parseDenial(s string) (denial, error) {
	u, a, _ := strings.Cut(s, " ")
	until, err := strconv.ParseInt(u, 10, 64)
	if err != nil {
		return denial{}, fmt.Errorf("malformed denial %q", s)
	}
	at, err := strconv.ParseInt(a, 10, 64)
	if err != nil {
		return denial{}, fmt.Errorf("malformed denial %q", s)
	}
	return denial{until, at}, nil
}
