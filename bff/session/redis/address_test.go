package redis

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
	for s, want := range map[string]address{
		"redis://h":                     {kind: single, hosts: []string{"h:6379"}},
		"redis://h:1/2":                 {kind: single, hosts: []string{"h:1"}, database: 2},
		"redis://[::1]:1":               {kind: single, hosts: []string{"[::1]:1"}},
		"redis://[::1]":                 {kind: single, hosts: []string{"[::1]:6379"}},
		"redis://u:p@h":                 {kind: single, hosts: []string{"h:6379"}, user: "u", password: "p"},
		"redis://:p@h":                  {kind: single, hosts: []string{"h:6379"}, password: "p"},
		"redis://u:p%40%2Fq%3A@h":       {kind: single, hosts: []string{"h:6379"}, user: "u", password: "p@/q:"},
		"redis://u:p@q@h":               {kind: single, hosts: []string{"h:6379"}, user: "u", password: "p@q"},
		"rediss://h":                    {kind: single, secure: true, hosts: []string{"h:6379"}},
		"rediss://h?ca_file=/ca.pem":    {kind: single, secure: true, hosts: []string{"h:6379"}, caFile: "/ca.pem"},
		"redis-cluster://a,b:1,c":       {kind: cluster, hosts: []string{"a:6379", "b:1", "c:6379"}},
		"rediss-cluster://u:p@a,b":      {kind: cluster, secure: true, hosts: []string{"a:6379", "b:6379"}, user: "u", password: "p"},
		"redis-sentinel://a,b:1/main":   {kind: sentinel, hosts: []string{"a:26379", "b:1"}, master: "main"},
		"rediss-sentinel://a/my%20main": {kind: sentinel, secure: true, hosts: []string{"a:26379"}, master: "my main"},
		"redis-sentinel://:p@a/m/3?sentinel_user=u&sentinel_password=q": {kind: sentinel, hosts: []string{"a:26379"}, master: "m", database: 3,
			password: "p", sentinelUser: "u", sentinelPassword: "q", sentinelCredential: true},
	} {
		got, err := parseAddress(s)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if !slices.Equal(got.hosts, want.hosts) {
			t.Errorf("%s: hosts %q, want %q", s, got.hosts, want.hosts)
		}
		got.hosts, want.hosts = nil, nil
		if got.kind != want.kind || got.secure != want.secure || got.user != want.user || got.password != want.password ||
			got.master != want.master || got.database != want.database || got.caFile != want.caFile ||
			got.sentinelUser != want.sentinelUser || got.sentinelPassword != want.sentinelPassword || got.sentinelCredential != want.sentinelCredential {
			t.Errorf("%s: %+v, want %+v", s, got, want)
		}
	}
	for _, s := range []string{
		"", "h:6379", "redis:", "redis:h", "http://h", "redisss://h", "redis-x://h", "redis://", "redis://u:secret@", "redis://:secret@:1",
		"redis://h:0", "redis://h:65536", "redis://h:secret", "redis://h/secret", "redis://h/-1", "redis://h?secret=1", "redis://h?ca_file=secret",
		"redis://a,b", "redis://u:secret%zz@h", "redis-cluster://a/0", "redis-cluster://a,,b", "redis-sentinel://a", "redis-sentinel://a/",
		"redis-sentinel://a/%zzsecret", "redis-sentinel://a/m/secret", "redis://h?%zzsecret", "redis-cluster://a?sentinel_user=secret", "redis://h h",
	} {
		if err := CheckURL(s); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v, want an error that quotes nothing", s, err)
		}
	}
}

// FuzzParseAddress: an error never quotes a password, and what is accepted names hosts that can be dialled.
func FuzzParseAddress(f *testing.F) {
	for _, s := range []string{"redis://u:p@h:1/2", "rediss-sentinel://a,b/m/1?sentinel_user=x", "redis-cluster://[::1]:1,b", "redis://%@"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, err := parseAddress(s)
		if err != nil {
			return
		}
		if len(a.hosts) == 0 || a.database < 0 || (a.kind == sentinel) != (a.master != "") {
			t.Errorf("%q: %+v", s, a)
		}
		for _, h := range a.hosts {
			if strings.ContainsAny(h, "@/ ") {
				t.Errorf("%q: host %q", s, h)
			}
		}
		if err := CheckURL(strings.Replace(s, "://", "://user:hunter2@", 1)); err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the password: %v", err)
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
		a := address{kind: single, secure: true, hosts: []string{"h:1"}, caFile: file}
		if _, err := a.tlsConfig(); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", file, err, problem)
		}
	}
	a := address{kind: single, secure: true, hosts: []string{"h:1"}}
	if c, err := a.tlsConfig(); err != nil || c.ServerName != "h" || c.MinVersion != tls.VersionTLS12 || c.RootCAs != (*x509.CertPool)(nil) {
		t.Errorf("%+v, %v", c, err)
	}
}
