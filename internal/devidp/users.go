package devidp

import (
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// user is somebody to sign in as.
type user struct {
	Key         string // value of the button on the sign-in page
	Subject     string
	GivenName   string
	FamilyName  string
	Email       string
	Role        string
	About       string   // what the user may do, for people
	Permissions []string // the same, for the API; also the API scopes that a client is granted when it asks
}

// Name is the full name.
func (u *user) Name() string { return u.GivenName + " " + u.FamilyName }

// Initial stands for a portrait.
func (u *user) Initial() string { return u.GivenName[:1] }

// demoUsers are all there are. The sample application's demo products belong to the seller's subject.
var demoUsers = []*user{
	{
		Key: "seller", Subject: "dev|seller", GivenName: "Sofia", FamilyName: "Marchetti", Email: "sofia@example.com",
		Role: "Seller", About: "Sells projects, and changes only her own.",
		Permissions: []string{"products:write"},
	},
	{
		Key: "buyer", Subject: "dev|buyer", GivenName: "Ben", FamilyName: "Okafor", Email: "ben@example.com",
		Role: "Buyer", About: "Looks around, and may change nothing.",
		Permissions: []string{},
	},
	{
		Key: "admin", Subject: "dev|admin", GivenName: "Ada", FamilyName: "Lindholm", Email: "ada@example.com",
		Role: "Administrator", About: "Like a buyer, and may see and end everybody's login sessions.",
		Permissions: []string{"sessions:admin"},
	},
}

// userByKey returns the demo user of a button, or nil.
func userByKey(key string) *user {
	for _, u := range demoUsers {
		if u.Key == key {
			return u
		}
	}
	return nil
}

// userByHint returns the demo user that a login_hint means, by key, subject or e-mail address, or nil.
func userByHint(hint string) *user {
	for _, u := range demoUsers {
		if hint == u.Key || hint == u.Subject || hint == u.Email {
			return u
		}
	}
	return nil
}

// standardScopes are granted to everybody.
var standardScopes = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess}

// apiScopes are the scopes of the API: everybody's permissions together.
func apiScopes() []string {
	var all []string
	for _, u := range demoUsers {
		all = append(all, u.Permissions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// grantedScopes is what u gets of the scopes that were asked for: an API scope only with the permission of its name.
func (u *user) grantedScopes(asked []string) []string {
	var granted []string
	for _, s := range asked {
		if (slices.Contains(standardScopes, s) || slices.Contains(u.Permissions, s)) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted
}

// info is what scopes allow a client to learn about u.
func (u *user) info(scopes []string) *oidc.UserInfo {
	info := &oidc.UserInfo{Subject: u.Subject}
	if slices.Contains(scopes, oidc.ScopeProfile) {
		info.Name, info.GivenName, info.FamilyName = u.Name(), u.GivenName, u.FamilyName
		info.Nickname, info.PreferredUsername = u.Key, u.Key
	}
	if slices.Contains(scopes, oidc.ScopeEmail) {
		info.Email, info.EmailVerified = u.Email, true
	}
	return info
}
