package token

import (
	"slices"
	"strings"
)

// ProfileSettings are the settings that decide whether tokens of another kind may pass for access tokens of an API.
type ProfileSettings struct {
	ClientID             string // of the client that signs users in
	Scope                string // that it asks for
	Audience             string
	RequireATJWT         bool
	IDTokenClients       []string
	InsecureIDTokenShape bool
}

// A Finding is a setting that blurs the difference between access tokens and others, in sentences for a person.
type Finding struct {
	Field  string // of ProfileSettings
	What   string
	Remedy string
}

// Findings says which settings blur the token profiles, here or by what they ask of the provider.
func (s *ProfileSettings) Findings() []Finding {
	var found []Finding
	add := func(field, what, remedy string) { found = append(found, Finding{field, what, remedy}) }
	named := slices.Contains(s.IDTokenClients, s.ClientID) && s.ClientID != ""
	switch scope, dex := s.audienceScope(); {
	case scope == "":
	case dex && !s.InsecureIDTokenShape:
		add("InsecureIDTokenShape", "the scope "+scope+" is Dex's, whose access tokens have nonce and at_hash like ID tokens, and are refused",
			"set it, if you accept that ID tokens which name the API then open it too")
	case !dex:
		add("Scope", "the scope "+scope+" makes the provider name the API in ID tokens too; logout redirects then go without id_token_hint",
			"leave it out if access tokens name the API without it")
	}
	if s.InsecureIDTokenShape {
		remedy := "unset it if the provider's access tokens have neither nonce nor at_hash, or the type at+jwt"
		if len(s.IDTokenClients) == 0 {
			remedy += "; list other clients that can ask for this audience as clients whose ID tokens are refused"
		}
		add("InsecureIDTokenShape", "ID tokens that name the API are accepted as access tokens, unless they have c_hash", remedy)
		if named {
			add("IDTokenClients", "names "+s.ClientID+", whose access tokens look like ID tokens and name it too, so that they are refused", "take it out")
		}
	}
	if s.Audience != "" && slices.Contains(s.IDTokenClients, s.Audience) && !s.RequireATJWT {
		add("IDTokenClients", "names the audience, so that every token must have the type at+jwt", "give the API an identifier of its own if the provider does not write that type")
	}
	return found
}

// audienceScope returns a scope that adds an audience to access tokens and ID tokens alike, "" if none is asked for, and
// whether it is one of Dex's.
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
