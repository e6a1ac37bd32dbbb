package gatehouse

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// TestFollowDevUsers: the provider has the users of a changed file, and keeps those it
// has if the file is wrong.
func TestFollowDevUsers(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "people.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("users:\n  anna:\n")
	p := configuredFrom(t, settings.Sources{Flags: settings.Flags{"dev-users": {path}}})
	var log bytes.Buffer
	p.logger = slog.New(slog.NewTextHandler(&log, nil))
	people, err := p.devPeople()
	if err != nil {
		t.Fatal(err)
	}
	provider, err := devidp.New(devidp.Config{
		Issuer: "http://127.0.0.1:3001", Audience: "a", Users: people.users, Machines: people.machines,
		Clients: []devidp.Client{{ID: "c", Secret: "s", RedirectURIs: []string{"http://localhost:3000/"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	files := tlsfiles.New(tlsfiles.Config{Logger: p.logger})
	all := &parts{program: p, security: &tlsconfig.Set{Files: files}}
	all.followDevUsers(t.Context(), people, provider)
	for _, c := range []struct{ text, users, says string }{
		{"users:\n  anna:\n", "anna", ""},
		{"users:\n  anna:\n  ben: {permissions: [x]}\n", "anna ben", "people.yaml:3: user"},
		{"users:\n  anna:\n  ben: {permission: [x]}\n", "anna ben", ""},
		{"users:\n  anna:\n  ben: {permission: [x]}\n", "anna ben", "did you mean permissions?"}, // after the second look
		{"users:\n  carl:\n", "carl", "setting changed at run time"},
		{"", "everything nothing", "setting changed at run time"},
		{"users:\n  anna:\n", "anna", "setting changed at run time"}, // as at the start
	} {
		log.Reset()
		write(c.text)
		files.Check(t.Context())
		var keys []string
		for _, u := range provider.Users() {
			keys = append(keys, u.Key)
		}
		if got := strings.Join(keys, " "); got != c.users {
			t.Errorf("%q: users %s, want %s", c.text, got, c.users)
		}
		if !strings.Contains(log.String(), c.says) || c.says == "" && log.Len() > 0 {
			t.Errorf("%q: the log has %q, want %q", c.text, log.String(), c.says)
		}
	}
}
