package redisaddr

import (
	"crypto/tls"
	"crypto/x509"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseAddress(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]Address{
		"redis://h":                     {Kind: Single, Hosts: []string{"h:6379"}},
		"redis://h:1/2":                 {Kind: Single, Hosts: []string{"h:1"}, Database: 2},
		"redis://[::1]:1":               {Kind: Single, Hosts: []string{"[::1]:1"}},
		"redis://[::1]":                 {Kind: Single, Hosts: []string{"[::1]:6379"}},
		"redis://u:p@h":                 {Kind: Single, Hosts: []string{"h:6379"}, User: "u", Password: "p"},
		"redis://:p@h":                  {Kind: Single, Hosts: []string{"h:6379"}, Password: "p"},
		"redis://u:p%40%2Fq%3A@h":       {Kind: Single, Hosts: []string{"h:6379"}, User: "u", Password: "p@/q:"},
		"redis://u:p@q@h":               {Kind: Single, Hosts: []string{"h:6379"}, User: "u", Password: "p@q"},
		"rediss://h":                    {Kind: Single, Secure: true, Hosts: []string{"h:6379"}},
		"rediss://h?ca_file=/ca.pem":    {Kind: Single, Secure: true, Hosts: []string{"h:6379"}, CAFile: "/ca.pem"},
		"redis-cluster://a,b:1,c":       {Kind: Cluster, Hosts: []string{"a:6379", "b:1", "c:6379"}},
		"rediss-cluster://u:p@a,b":      {Kind: Cluster, Secure: true, Hosts: []string{"a:6379", "b:6379"}, User: "u", Password: "p"},
		"redis-sentinel://a,b:1/main":   {Kind: Sentinel, Hosts: []string{"a:26379", "b:1"}, Master: "main"},
		"rediss-sentinel://a/my%20main": {Kind: Sentinel, Secure: true, Hosts: []string{"a:26379"}, Master: "my main"},
		"redis-sentinel://:p@a/m/3?sentinel_user=u&sentinel_password=q": {Kind: Sentinel, Hosts: []string{"a:26379"}, Master: "m", Database: 3,
			Password: "p", SentinelUser: "u", SentinelPassword: "q", SentinelCredential: true},
	} {
		got, err := Parse(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if !slices.Equal(got.Hosts, want.Hosts) {
			t.Errorf("%s: hosts %q, want %q", s, got.Hosts, want.Hosts)
		}
		got.Hosts, want.Hosts = nil, nil
		if got.Kind != want.Kind || got.Secure != want.Secure || got.User != want.User || got.Password != want.Password ||
			got.Master != want.Master || got.Database != want.Database || got.CAFile != want.CAFile ||
			got.SentinelUser != want.SentinelUser || got.SentinelPassword != want.SentinelPassword || got.SentinelCredential != want.SentinelCredential {
			t.Errorf("%s: %+v, want %+v", s, got, want)
		}
	}
	for _, s := range []string{
		"", "h:6379", "redis:", "redis:h", "http://h", "redisss://h", "redis-x://h", "redis://", "redis://u:secret@", "redis://:secret@:1",
		"redis://h:0", "redis://h:65536", "redis://h:secret", "redis://h/secret", "redis://h/-1", "redis://h?secret=1", "redis://h?ca_file=secret",
		"redis://a,b", "redis://u:secret%zz@h", "redis-cluster://a/0", "redis-cluster://a,,b", "redis-sentinel://a", "redis-sentinel://a/",
		"redis-sentinel://a/%zzsecret", "redis-sentinel://a/m/secret", "redis://h?%zzsecret", "redis-cluster://a?sentinel_user=secret", "redis://h h",
	} {
		if _, err := Parse(s); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error that quotes nothing", s, err)
		}
	}
}

// FuzzParseAddress: an error never quotes a password, and what is accepted names hosts that can be
// dialled.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "rediss-sentinel://a,b/m/1?sentinel_user=x", "redis-cluster://[::1]:1,b", "redis://%@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := Parse(s)
		if err != nil {
			return
		}
		if len(a.Hosts) == 0 || a.Database < 0 || (a.Kind == Sentinel) != (a.Master != "") {
			t.Errorf("%q: %+v", s, a)
		}
		for _, h := range a.Hosts {
			if strings.ContainsAny(h, "@/ ") {
				t.Errorf("%q: host %q", s, h)
			}
		}
		if _, err := Parse(strings.Replace(s, "://", "://user:hunter2@", 1)); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the Password: %v", err)
		}
	})
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	none := filepath.Join(t.TempDir(), "none.pem")
	if err := os.WriteFile(none, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, problem := range map[string]string{none: "no certificate in PEM", none + ".missing": "cannot be read"} {
		a := Address{Kind: Single, Secure: true, Hosts: []string{"h:1"}, CAFile: file}
		if _, err := a.TLS(); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", file, err, problem)
		}
	}
	a := Address{Kind: Single, Secure: true, Hosts: []string{"h:1"}}
	if c, err := a.TLS(); err != nil || c.ServerName != "h" || c.MinVersion != tls.VersionTLS12 || c.RootCAs != (*x509.CertPool)(nil) {
		t.Errorf("%+v, %v", c, err)
	}
}
