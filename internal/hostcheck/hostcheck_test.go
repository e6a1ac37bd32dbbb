package hostcheck_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/hostcheck"
)

func TestAllow(t *testing.T) {
	t.Parallel()
	h, err := hostcheck.New("localhost", []string{"gateway", "App.Test.", "192.0.2.7", "2001:db8::7"})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]bool{
		"localhost": true, "localhost:3000": true, "LOCALHOST:3000": true, "localhost.": true, "localhost.:3000": true, "localhost:": true,
		"app.localhost": true, "a.b.localhost:3000": true, "app.localhost.:3000": true,
		"127.0.0.1": true, "127.0.0.1:3000": true, "127.8.9.1:3000": true, "[::1]": true, "[::1]:3000": true, "[::ffff:127.0.0.1]:3000": true,
		"gateway": true, "gateway:5000": true, "GATEWAY:5000": true, "app.test": true, "app.test.:80": true, "192.0.2.7:3000": true, "[2001:db8::7]:3000": true,

		"": false, ":3000": false, ".": false, "evil.example": false, "evil.example:3000": false, "evil.example.": false,
		"localhost.evil.example": false, "localhostx": false, "xlocalhost": false, ".localhost": false, "..localhost": false, "evil.example.localhost..": false,
		"localhost@evil.example": false, "user@localhost": false, "user:pass@localhost:3000": false, "localhost/evil": false, "localhost evil.example": false, "localhost,evil.example": false, "localhost\x00": false, "localhost%2eevil.example": false,
		"localhost:3000:3000": false, "localhost:99999": false, "localhost:-1": false, "localhost:+80": false, "localhost:x": false, "localhost:3000/": false,
		"127.0.0.1.": true, "127.0.0.1.evil.example": false, "127.1": false, "2130706433": false, "0x7f.0.0.1": false, "0.0.0.0:3000": false, "[::]:3000": false, "10.0.0.1": false, "128.0.0.1": false,
		"::1": false, "[::1": false, "::1]": false, "[[::1]]": false, "[::1%25lo]": false, "[::1%lo]:3000": false, "[127.0.0.1]": false, "[localhost]": false, "[127.0.0.1]:80": false,
		"192.0.2.8": false, "other": false, "x.gateway": false, "gateway.evil.example": false, "ⓛocalhost": false,
		strings.Repeat("a.", 130) + "localhost": false, strings.Repeat("a", 64) + ".localhost": false,
	} {
		if got := h.Allow(host); got != want {
			t.Errorf("Allow(%q) = %t, want %t", host, got, want)
		}
	}
}

// A server whose base URL is not on loopback accepts every name, since its names
// are not in its configuration.
func TestOffLoopback(t *testing.T) {
	t.Parallel()
	for host, checked := range map[string]bool{"localhost": true, "app.localhost": true, "127.0.0.1": true, "::1": true, "[::1]": true, "shop.example": false, "": false} {
		h, err := hostcheck.New(host, nil)
		if err != nil || (h != nil) != checked || h.Allow("evil.example") == checked {
			t.Errorf("base URL on %q: %v, %v", host, h, err)
		}
	}
}

func TestAllowedNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "*", "*.example", "http://app.test", "app.test:3000", "app test", "user@app.test", "app..test", "/"} {
		if _, err := hostcheck.New("localhost", []string{"fine", name}); err == nil || !strings.Contains(err.Error(), "without scheme, port and wildcard") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzAllow(f *testing.F) {
	h, err := hostcheck.New("localhost", nil)
	if err != nil {
		f.Fatal(err)
	}
	for _, host := range []string{"localhost", "127.0.0.1:80", "[::1]:80", "evil.example", "a@localhost", "x.localhost."} {
		f.Add(host)
	}
	f.Fuzz(func(t *testing.T, host string) {
		if !h.Allow(host) {
			return
		}
		lower := strings.ToLower(host)
		if strings.ContainsAny(host, "@/\\ ,%?#\x00") || !strings.Contains(lower, "localhost") && !strings.Contains(lower, "127.") && !strings.Contains(lower, "1") && !strings.Contains(lower, "7f") {
			t.Errorf("%q is answered", host)
		}
	})
}
