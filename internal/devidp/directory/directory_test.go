package directory_test

import (
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

var now = time.Date(2031, 5, 6, 7, 8, 9, 0, time.UTC)

// TestStill: a user with the key of another one is not the same user.
func TestStill(t *testing.T) {
	t.Parallel()
	var d directory.Directory
	d.Set([]directory.User{{Key: "a"}})
	was := d.Find("a", now)
	d.Set([]directory.User{{Key: "a", Permissions: []string{"p"}}})
	if u := d.Still(was, now); u == nil || len(u.Permissions) != 1 {
		t.Errorf("with another permission the user is %+v", u)
	}
	d.Set([]directory.User{{Key: "a", Subject: "another"}})
	if u := d.Still(was, now); u != nil {
		t.Errorf("with another subject the user is %+v, want none", u)
	}
}

// TestSetOverAdded: a configured user replaces those who were added with its key, subject
// or address.
func TestSetOverAdded(t *testing.T) {
	t.Parallel()
	for name, added := range map[string]directory.User{
		"key":     {Key: "a", Subject: "x", Email: "x@example.com"},
		"subject": {Key: "x", Subject: "dev|a"},
		"address": {Key: "x", Email: "A@example.com"},
	} {
		var d directory.Directory
		if _, problems := d.Add(added, now); problems != nil {
			t.Fatal(directory.Join(problems))
		}
		d.Set([]directory.User{{Key: "a"}})
		if all := d.All(now); len(all) != 1 || all[0].Subject != "dev|a" {
			t.Errorf("%s: %d users, the first %+v", name, len(all), all[0])
		}
	}
}
