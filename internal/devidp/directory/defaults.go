package directory

import (
	"slices"
	"strings"
)

// DefaultUsers returns users with whom every method of an application can be tried:
// one with all that the policies name and what operators need, one with nothing, and
// one for each of the first permissions.
func DefaultUsers(policies PolicyValues, operator ...string) []User {
	const most = 6
	users := []User{
		{Key: "everything", Name: "Eve Everything", Role: "All permissions and scopes",
			Permissions: slices.Concat(policies.Permissions, operator), Scopes: policies.Scopes},
		{Key: "nothing", Name: "Noah Nothing", Role: "No permissions or scopes"},
	}
	seen := map[string]bool{"everything": true, "nothing": true}
	for _, permission := range policies.Permissions {
		key := slug(permission)
		if len(users) == most || len(policies.Permissions) == 1 || key == "" || seen[key] {
			continue
		}
		seen[key] = true
		users = append(users, User{
			Key: key, Role: "One permission", Permissions: []string{permission},
			Scopes: slices.DeleteFunc(slices.Clone(policies.Scopes), func(scope string) bool { return slices.Contains(policies.Permissions, scope) }),
		})
	}
	return users
}

// slug returns a key made of a text, or "".
func slug(text string) string {
	var key strings.Builder
	for _, r := range strings.ToLower(text) {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9':
			key.WriteRune(r)
		case key.Len() > 0 && !strings.HasSuffix(key.String(), "-"):
			key.WriteByte('-')
		}
	}
	return strings.Trim(key.String()[:min(key.Len(), 64)], "-")
}
