package token

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Claims are the claims of a verified token. Absent strings are empty, absent
// times are zero. It is immutable. It refers to the whole payload, so a cache
// should keep single fields instead.
type Claims struct {
	Issuer          string
	Subject         string
	ClientID        string // client_id (RFC 9068), or azp if absent
	AuthorizedParty string // azp
	Audience        []string
	Scopes          []string // scope, or scp if absent; a space-separated string or a list
	Expiry          time.Time
	IssuedAt        time.Time
	NotBefore       time.Time
	AuthTime        time.Time
	ACR             string
	AMR             []string
	SessionID       string // sid
	ID              string // jti
	Nonce           string
	AtHash          string
	Type            string // the typ of the header, as sent

	payloadType  string // the claim typ
	tokenUse     string // the claim token_use
	introspected bool   // the claims of an introspection response
	payload      string
	members      []member
}

// Lookup returns the value of a claim, as string, bool, json.Number, []any,
// map[string]any or nil. A path is the name of a claim
// ("https://example.com/roles"), or names joined by dots ("realm_access.roles").
// If both match, the longer name wins. The caller may change the value.
func (c *Claims) Lookup(path string) (any, bool) {
	if raw, ok := c.raw(path); ok {
		v, err := decodeValue(raw)
		return v, err == nil
	}
	for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path[:i], '.') {
		if raw, ok := c.raw(path[:i]); ok && raw[0] == '{' {
			v, err := decodeValue(raw)
			if m, isMap := v.(map[string]any); err == nil && isMap {
				if v, ok := lookup(m, path[i+1:]); ok {
					return v, true
				}
			}
		}
	}
	return nil, false
}

func lookup(m map[string]any, path string) (any, bool) {
	if v, ok := m[path]; ok {
		return v, true
	}
	for i := strings.LastIndexByte(path, '.'); i > 0; i = strings.LastIndexByte(path[:i], '.') {
		if inner, ok := m[path[:i]].(map[string]any); ok {
			if v, ok := lookup(inner, path[i+1:]); ok {
				return v, true
			}
		}
	}
	return nil, false
}

func (c *Claims) raw(name string) (string, bool) {
	for i := range c.members {
		if c.members[i].name == name {
			return c.members[i].raw, true
		}
	}
	return "", false
}

// Strings returns the claim at path as a list of strings. A string is split at
// spaces. It returns false if there is no such claim, or it has another type.
func (c *Claims) Strings(path string) ([]string, bool) {
	value, _ := c.Lookup(path)
	switch v := value.(type) {
	case string:
		return splitSpaces(v), true
	case []any:
		return allStrings(v)
	}
	return nil, false
}

// Texts returns the claim at path as texts to compare: a string, a list of strings, or
// "true" or "false". It returns false if there is no such claim, or it has another type.
func (c *Claims) Texts(path string) ([]string, bool) {
	value, _ := c.Lookup(path)
	switch v := value.(type) {
	case string:
		return []string{v}, true
	case bool:
		return []string{strconv.FormatBool(v)}, true
	case []any:
		return allStrings(v)
	}
	return nil, false
}

// Map returns all claims, decoded as by Lookup. The caller may change the map.
func (c *Claims) Map() map[string]any {
	m := make(map[string]any, len(c.members))
	for _, member := range c.members {
		if v, err := decodeValue(member.raw); err == nil { // always, since it was parsed before
			m[strings.Clone(member.name)] = v
		}
	}
	return m
}

// JSON returns a copy of the payload as signed.
func (c *Claims) JSON() []byte { return []byte(c.payload) }

// logoutEvent is the member of events in a logout token (Back-Channel Logout §2.4).
const logoutEvent = "http://schemas.openid.net/event/backchannel-logout"

// parseClaims reads a payload. A registered claim with the wrong JSON type,
// including null, makes it invalid: a parser that takes null for absent and one
// that does not would see different tokens.
func parseClaims(payload string) (*Claims, error) {
	members, err := parseObject(payload)
	if err != nil {
		return nil, err
	}
	c := &Claims{payload: payload, members: members}
	var scp []string
	hasScope := false
	for _, m := range members {
		ok := true
		switch m.name {
		case "iss":
			c.Issuer, ok = decodeString(m.raw)
		case "sub":
			c.Subject, ok = nonEmpty(m.raw)
		case "client_id":
			c.ClientID, ok = nonEmpty(m.raw)
		case "azp":
			c.AuthorizedParty, ok = nonEmpty(m.raw)
		case "aud":
			c.Audience, ok = stringOrList(m.raw)
		case "exp":
			c.Expiry, ok = numericDate(m.raw)
		case "iat":
			c.IssuedAt, ok = numericDate(m.raw)
		case "nbf":
			c.NotBefore, ok = numericDate(m.raw)
		case "auth_time":
			c.AuthTime, ok = numericDate(m.raw)
		case "scope":
			c.Scopes, ok = scopes(m.raw)
			hasScope = true
		case "scp":
			scp, ok = scopes(m.raw)
		case "acr":
			c.ACR, ok = decodeString(m.raw)
		case "amr":
			c.AMR, ok = stringOrList(m.raw)
		case "sid":
			c.SessionID, ok = nonEmpty(m.raw)
		case "jti":
			c.ID, ok = nonEmpty(m.raw)
		case "nonce":
			c.Nonce, ok = decodeString(m.raw)
		case "at_hash":
			c.AtHash, ok = nonEmpty(m.raw)
		case "typ":
			c.payloadType, ok = decodeString(m.raw)
		case "token_use":
			c.tokenUse, ok = decodeString(m.raw)
		case "cnf":
			// RFC 8705, RFC 9449: accepting it as a bearer token would undo the binding.
			return nil, errors.New("cnf: the token is bound to a key, which is not supported")
		}
		if !ok {
			return nil, fmt.Errorf("claim %s has the wrong type or an invalid value", m.name)
		}
	}
	if !hasScope {
		c.Scopes = scp
	}
	if c.ClientID == "" {
		c.ClientID = c.AuthorizedParty
	}
	return c, nil
}

func nonEmpty(raw string) (string, bool) {
	s, ok := decodeString(raw)
	return s, ok && s != ""
}

func stringOrList(raw string) ([]string, bool) {
	if s, ok := decodeString(raw); ok {
		return []string{s}, true
	}
	return stringList(raw)
}

func scopes(raw string) ([]string, bool) {
	if s, ok := decodeString(raw); ok {
		return splitSpaces(s), true
	}
	return stringList(raw)
}

// stringList returns the meaning of a raw value that is a list of strings.
func stringList(raw string) ([]string, bool) {
	v, err := decodeValue(raw)
	list, ok := v.([]any)
	if err != nil || !ok {
		return nil, false
	}
	return allStrings(list)
}

func allStrings(list []any) ([]string, bool) {
	texts := make([]string, len(list))
	for i := range list {
		text, ok := list[i].(string)
		if !ok {
			return nil, false
		}
		texts[i] = text
	}
	return texts, true
}

// splitSpaces splits at spaces only, not at other white space (RFC 6749 §3.3).
func splitSpaces(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ' ' })
}

// numericDate reads a NumericDate (RFC 7519 §2): seconds since 1970, possibly with
// a fraction. Negative values and years after 9999 are refused.
func numericDate(raw string) (time.Time, bool) {
	const last = 253402300799 // 9999-12-31T23:59:59Z
	if raw[0] < '0' || raw[0] > '9' {
		return time.Time{}, false
	}
	if n, err := strconv.ParseInt(raw, 10, 64); err == nil {
		return time.Unix(n, 0), n <= last
	}
	f, err := strconv.ParseFloat(raw, 64)
	if err != nil || f > last {
		return time.Time{}, false
	}
	whole := int64(f)
	return time.Unix(whole, int64((f-float64(whole))*1e9)), true
}

// ID returns the jti of an access token without verifying it; "" if there is none.
// It must be used for nothing but revoking the token.
func ID(raw string) string {
	c, err := split(raw, maxAccess)
	if err != nil {
		return ""
	}
	var claims struct {
		ID string `json:"jti"`
	}
	if json.Unmarshal([]byte(c.payload), &claims) != nil {
		return ""
	}
	return claims.ID
}

// MayName reports whether an ID token, which is not verified, may have the
// audience. It returns true for a token that cannot be parsed.
func MayName(raw, audience string) bool {
	t, err := split(raw, maxIDToken)
	if err != nil {
		return true
	}
	c, err := parseClaims(t.payload)
	return err != nil || slices.Contains(c.Audience, audience)
}
