package devidp

import (
	"slices"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

// A user is a demo user.
type user struct {
	Key         string // value of the button on the sign-in page
	Subject     string
	GivenName   string
	FamilyName  string
	Email       string
	Role        string
	About       string   // what the user may do, for the page
	Permissions []string // the permissions claim, and the API scopes that are granted on request
}

// Name returns the full name.
func (u *user) Name() string { return u.GivenName + " " + u.FamilyName }

// Initial returns the letter in place of a portrait.
func (u *user) Initial() string { return u.GivenName[:1] }

// demoUsers are all users. The demo products of the sample application belong to the
// subject of the seller.
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
		Role: "Administrator", About: "Like a buyer, and may see and end the sessions of all users.",
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

// userByHint returns the demo user with the key, subject or email address of a
// login_hint, or nil.
func userByHint(hint string) *user {
	for _, u := range demoUsers {
		if hint == u.Key || hint == u.Subject || hint == u.Email {
			return u
		}
	}
	return nil
}

// standardScopes are granted to all users.
var standardScopes = []string{oidc.ScopeOpenID, oidc.ScopeProfile, oidc.ScopeEmail, oidc.ScopeOfflineAccess}

// apiScopes returns the scopes of the API: the permissions of all users.
func apiScopes() []string {
	var all []string
	for _, u := range demoUsers {
		all = append(all, u.Permissions...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// grantedScopes returns the requested scopes that u is granted. An API scope needs
// the permission of the same name.
func (u *user) grantedScopes(asked []string) []string {
	var granted []string
	for _, s := range asked {
		if (slices.Contains(standardScopes, s) || slices.Contains(u.Permissions, s)) && !slices.Contains(granted, s) {
			granted = append(granted, s)
		}
	}
	return granted
}

// info returns the claims about u that scopes select.
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
