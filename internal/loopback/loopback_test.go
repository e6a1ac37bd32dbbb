package loopback_test

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

func TestHost(t *testing.T) {
	t.Parallel()
	for host, want := range map[string]bool{
		"localhost": true, "LOCALHOST": true, "127.0.0.1": true, "127.8.9.1": true, "::1": true, "[::1]": true, "::ffff:127.0.0.1": true,
		"": false, "localhost.": false, "localhost.example": false, "127.0.0.1.example": false, "128.0.0.1": false, "0.0.0.0": false, "::": false, "10.0.0.1": false, "2130706433": false, "::1%lo": false,
	} {
		if got := loopback.Host(host); got != want {
			t.Errorf("Host(%q) = %v, want %v", host, got, want)
		}
	}
}

func TestSocket(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"unix:/run/a.sock": "/run/a.sock", "unix:///run/a.sock": "/run/a.sock", "unix:a.sock": "a.sock",
		"unix:": "", "/run/a.sock": "", "127.0.0.1:80": "", "": "",
	} {
		if got, ok := loopback.Socket(address); ok != (want != "") || ok && got != want {
			t.Errorf("Socket(%q) = %q, %t, want %q", address, got, ok, want)
		}
	}
}
