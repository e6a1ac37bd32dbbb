package redis

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// keys is the prefix of all keys of a store. The part of a key in braces decides where a cluster
// keeps it.
type keys string

// sessions begins the keys whose changes Redis reports.
func (k keys) sessions() string { return string(k) + "session:" }

// session is the key of a session.
func (k keys) session(id session.ID) string {
	return k.sessions() + "{" + base64.RawURLEncoding.EncodeToString(id[:]) + "}"
}

// end is a key that is set for a moment when a session ends.
func (k keys) end(id session.ID, why session.Reason) string {
	if why > 9 {
		why = session.ReasonUnknown
	}
	return k.session(id) + ":ended:" + string('0'+rune(why))
}

// parse returns the event that a change of a key of session or end means.
func (k keys) parse(key string) (e session.Event, ok bool) {
	rest, ok := strings.CutPrefix(key, k.sessions()+"{")
	if !ok {
		return e, false
	}
	name, rest, ok := strings.Cut(rest, "}")
	n, err := base64.RawURLEncoding.Strict().Decode(e.ID[:], []byte(name))
	if !ok || len(name) != 43 || err != nil || n != len(e.ID) {
		return session.Event{}, false
	}
	if rest == "" {
		return e, true
	}
	digit, ok := strings.CutPrefix(rest, ":ended:")
	if !ok || len(digit) != 1 || digit[0] < '0' || digit[0] > '9' {
		return session.Event{}, false
	}
	e.Ended, e.Reason = true, session.Reason(digit[0]-'0')
	return e, true
}

// subject and sid are the keys of sets of IDs, named by a hash since names may have any length and
// any bytes.
func (k keys) subject(issuer,
	subject string) string {
	return k.hashed("subject:", issuer, subject)
}
func (k keys) sid(issuer, sid string) string { return k.hashed("sid:", issuer, sid) }

func (k keys) hashed(kind, issuer, value string) string {
	h := sha256.New()
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(issuer))) // "ab", "c" differs from "a", "bc"
	h.Write(n[:])
	io.WriteString(h, issuer)
	io.WriteString(h, value)
	return string(k) + kind + "{" + base64.RawURLEncoding.EncodeToString(h.Sum(nil)) + "}"
}

// note returns the key of a note and that of the set of the notes of its kind that become due. A
// cluster keeps all notes of a kind in one place, so that both change in one step.
func (k keys) note(kind, key string) []string {
	return []string{string(k) + "note:{" + kind + "}:" + key, string(k) + "due:{" + kind + "}"}
}
