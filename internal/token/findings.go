package token

import (
	"slices"
	"strings"
)

// ProfileSettings are the settings that decide whether other kinds of token can
// pass for access tokens of an API.
type ProfileSettings struct {
	ClientID             string // of the client that signs users in
	Scope                string // that it requests
	Audience             string
	RequireATJWT         bool
	IDTokenClients       []string
	InsecureIDTokenShape bool
}

// A Finding is a setting with which another kind of token may pass for an access
// token.
type Finding struct {
	Field  string // of ProfileSettings
	What   string
	Remedy string
}

// Findings returns the settings with which other kinds of token may pass for access
// tokens.
func (s *ProfileSettings) Findings() []Finding {
	var found []Finding
	add := func(field, what, remedy string) { found = append(found, Finding{field, what, remedy}) }
	named := slices.Contains(s.IDTokenClients, s.ClientID) && s.ClientID != ""
	switch scope, dex := s.audienceScope(); {
	case scope == "":
	case dex && !s.InsecureIDTokenShape:
		add("InsecureIDTokenShape", "the scope "+scope+" is Dex's; its access tokens have nonce and at_hash like ID tokens, and are refused",
			"set it if it is acceptable that ID tokens for the API pass for access tokens")
	case !dex:
		add("Scope", "the scope "+scope+" adds the API to the audiences of ID tokens; logout redirects then have no id_token_hint",
			"leave it out if access tokens have the audience without it")
	}
	if s.InsecureIDTokenShape {
		remedy := "unset it if the provider's access tokens have neither nonce nor at_hash, or the type at+jwt"
		if len(s.IDTokenClients) == 0 {
			remedy += "; list other clients that can request this audience as clients whose ID tokens are refused"
		}
		add("InsecureIDTokenShape", "ID tokens for the API are accepted as access tokens, unless they have c_hash", remedy)
		if named {
			add("IDTokenClients", "contains "+s.ClientID+", whose access tokens look like ID tokens with that audience, so they are refused", "remove it")
		}
	}
	if s.Audience != "" && slices.Contains(s.IDTokenClients, s.Audience) && !s.RequireATJWT {
		add("IDTokenClients", "contains the audience, so every token must have the type at+jwt", "give the API an identifier of its own if the provider does not set that type")
	}
	return found
}

// audienceScope returns a requested scope that adds an audience to access tokens
// and ID tokens, "" if there is none, and whether it is Dex's.
func (s *ProfileSettings) audienceScope() (scope string, dex bool) {
	for scope := range strings.FieldsSeq(s.Scope) {
		switch {
		case strings.HasPrefix(scope, "audience:server:client_id:"):
			return scope, true
		case strings.HasPrefix(scope, "urn:zitadel:iam:org:project:id:") && strings.HasSuffix(scope, ":aud"):
			return scope, false
		}
	}
	return "", false
}
