package token

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/token/jwk"
)

// A compact is a token in compact serialisation, parsed and not verified.
type compact struct {
	input     string // header and payload as signed
	payload   string
	signature []byte
	header    header
}

type header struct {
	alg string // as package jwk names it
	typ string
	kid string // "" if there is none
}

var (
	errCharacters = errors.New("characters that are not base64url")
	errBase64     = errors.New("base64url is not canonical")
)

// base64url is true for the 64 characters of base64url. They are checked before
// decoding, because the strict decoder of package base64 skips CR and LF: a token
// must have one spelling, or a revoked or cached one has others (compare
// CVE-2025-27144).
var base64url = func() (table [256]bool) {
	for _, c := range []byte("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_") {
		table[c] = true
	}
	return table
}()

// separate returns where the dots between the three segments of a token are. Length
// and number of segments are checked before anything is decoded or allocated
// (CVE-2025-30204: a token of a million dots). Five segments, a JWE, are refused
// (CVE-2026-29000).
func separate(raw string, maxLen int) (dots [2]int, err error) {
	if len(raw) > maxLen {
		return dots, fmt.Errorf("%d bytes, more than the %d that are accepted", len(raw), maxLen)
	}
	n := 0
	for i := range len(raw) {
		if base64url[raw[i]] {
			continue
		}
		if raw[i] != '.' {
			return dots, errCharacters
		}
		if n == len(dots) {
			return dots, errors.New("more than three segments")
		}
		dots[n] = i
		n++
	}
	if n != len(dots) {
		return dots, errors.New("fewer than three segments")
	}
	return dots, nil
}

// split parses a compact JWS.
func split(raw string, maxLen int) (compact, error) {
	var c compact
	dots, err := separate(raw, maxLen)
	if err != nil {
		return c, err
	}
	c.input = raw[:dots[1]]
	head, err := decodeSegment(raw[:dots[0]])
	if err != nil {
		return c, fmt.Errorf("header: %w", err)
	}
	if c.header, err = parseHeader(string(head)); err != nil {
		return c, fmt.Errorf("header: %w", err)
	}
	payload, err := decodeSegment(raw[dots[0]+1 : dots[1]])
	if err != nil {
		return c, fmt.Errorf("payload: %w", err)
	}
	c.payload = string(payload)
	if c.signature, err = decodeSegment(raw[dots[1]+1:]); err != nil {
		return c, fmt.Errorf("signature: %w", err)
	}
	return c, nil
}

var strictBase64 = base64.RawURLEncoding.Strict()

func decodeSegment(s string) ([]byte, error) {
	if s == "" {
		return nil, errors.New("empty")
	}
	b, err := strictBase64.DecodeString(s)
	if err != nil {
		return nil, errBase64 // without the position, and without quoting
	}
	return b, nil
}

// parseHeader reads a JOSE header. The algorithm is one that package jwk supports: not
// HMAC (CVE-2016-10555), not none (CVE-2015-9235). jku, x5u, x5c and jwk are
// ignored, so they lead to no key (CVE-2018-0114).
func parseHeader(data string) (header, error) {
	var h header
	members, err := parseObject(data)
	if err != nil {
		return h, err
	}
	alg := ""
	for _, m := range members {
		ok := true
		switch m.name {
		case "alg":
			alg, ok = decodeString(m.raw)
		case "typ":
			h.typ, ok = decodeString(m.raw)
			ok = ok && h.typ != ""
		case "kid":
			h.kid, ok = decodeString(m.raw)
			if ok && (h.kid == "" || len(h.kid) > jwk.MaxID) {
				return h, fmt.Errorf("kid of %d bytes; 1 to %d are accepted", len(h.kid), jwk.MaxID)
			}
		case "crit":
			// No extension is supported, and an empty list is malformed (RFC 7515
			// §4.1.11; CVE-2025-59420, CVE-2026-32597).
			return h, errors.New("crit is not accepted")
		case "b64":
			return h, errors.New("b64 is not accepted") // RFC 7797: the signed input differs
		case "cty":
			return h, errors.New("cty is not accepted") // announces a nested token (RFC 7519 §5.2)
		case "zip", "enc":
			return h, fmt.Errorf("%s belongs to encrypted tokens", m.name)
		}
		if !ok {
			return h, fmt.Errorf("%s is not a string, or empty", m.name)
		}
	}
	if h.alg = jwk.Canonical(alg); h.alg == "" {
		return h, fmt.Errorf("alg %.128q is not supported; %s are", alg, strings.Join(jwk.Algorithms(), ", "))
	}
	return h, nil
}
