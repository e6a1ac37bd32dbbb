//go:build unix

package redis_test

import (
	"bytes"
	"log/slog"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

// A password and TLS, with a private authority and client certificates.
func TestPasswordAndTLS(t *testing.T) {
	t.Parallel()
	ca, dir := certtest.New(t, "redis"), t.TempDir()
	bundle := ca.Write(t, dir, "ca")
	cert, key := ca.Issue(t, "127.0.0.1").Write(t, dir, "server")
	clientCert, clientKey := ca.Issue(t, "gatehouse").Write(t, dir, "client")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	redistest.Start(t, "--tls-port", port, "--tls-cert-file", cert, "--tls-key-file", key, "--tls-ca-cert-file", bundle, "--tls-auth-clients", "yes", "--requirepass", "hunter2")
	at := "127.0.0.1:" + port + "?ca_file=" + bundle + "&cert_file=" + clientCert + "&key_file=" + clientKey

	s := open(t, redis.Config{URL: "rediss://:hunter2@" + at})
	found(t, s, create(t, s).ID)
	for address, problem := range map[string]string{
		"rediss://:wrong-hunter2@" + at:                              "Redis refuses (WRONGPASS",
		"rediss://" + at:                                             "Redis refuses (NOAUTH",
		"rediss://:hunter2@127.0.0.1:" + port:                        "certificate",
		"rediss://:hunter2@127.0.0.1:" + port + "?ca_file=" + bundle: "cannot be used",
		"redis://:hunter2@127.0.0.1:" + port:                         "cannot be used",
		"rediss://:hunter2@127.0.0.1:1":                              "cannot be used",
		"redis-cluster://:hunter2@127.0.0.1:1":                       "cannot be used",
		"redis-sentinel://:hunter2@127.0.0.1:1/m":                    "cannot be used",
	} {
		s, err := redis.Open(t.Context(), redis.Config{URL: address})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), problem) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want %q and no password", address, err, problem)
		}
	}
}

// Open fails if the Redis is of another kind than the address says.
func TestKinds(t *testing.T) {
	t.Parallel()
	replica := redistest.Start(t, "--replicaof", strings.Replace(redistest.Single(t), ":", " ", 1))
	for address, problem := range map[string]string{
		"redis://" + redistest.Cluster(t)[0]:             "write redis-cluster://",
		"redis-cluster://" + redistest.Single(t):         "write redis://",
		"redis://" + replica.Addr():                      "replica",
		"redis-sentinel://" + redistest.Single(t) + "/m": "Redis",
	} {
		s, err := redis.Open(t.Context(), redis.Config{URL: address})
		if err == nil {
			_ = s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%s: %v, want %q", address, err, problem)
		}
	}
}

// Open logs settings that lose sessions.
func TestWarnings(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		args []string
		want []string
	}{
		{[]string{"--appendonly", "yes"}, nil},
		{nil, []string{"appendonly"}},
		{[]string{"--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"}, []string{"noeviction", "appendonly"}},
		{[]string{"--maxmemory", "100mb", "--appendonly", "yes"}, nil},
	} {
		var log bytes.Buffer
		s, err := redis.Open(t.Context(), redis.Config{
			URL: "redis://" + redistest.Start(t, c.args...).Addr(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Close()
		if got := strings.Count(log.String(), "level=WARN"); got != len(c.want) {
			t.Errorf("%q: %d warnings, want %d:\n%s", c.args, got, len(c.want), &log)
		}
		for _, want := range c.want {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q: the log lacks %q:\n%s", c.args, want, &log)
			}
		}
	}
}

// The rights that docs/sessions.md names are enough.
func TestRights(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes")
	rights := strings.Fields("on >hunter2 ~gatehouse:* -@all +@read +@write +@scripting +@connection +role +info +client|tracking")
	server.Do(t, append([]string{"ACL", "SETUSER", "gatehouse"}, rights...)...)
	s := open(t, redis.Config{URL: "redis://gatehouse:hunter2@" + server.Addr()})
	r := create(t, s)
	found(t, s, r.ID)
	refreshed(t, s, r.ID)
	if list, _, err := s.List(t.Context(), "", 10); err != nil || len(list) != 1 {
		t.Errorf("List = %v, %v", list, err)
	}
	n := session.Note{Kind: "kind", Key: "k", DueAt: time.Now(), ExpiresAt: time.Now().Add(time.Hour)}
	if err := s.PutNote(t.Context(), n); err != nil {
		t.Error(err)
	}
	if due, err := s.DueNotes(t.Context(), "kind", 10); err != nil || len(due) != 1 {
		t.Errorf("DueNotes = %v, %v", due, err)
	}
	if _, err := s.CountNote(t.Context(), "kind", "c", n.ExpiresAt); err != nil {
		t.Error(err)
	}
	if _, err := s.TakeNote(t.Context(), "kind", "k"); err != nil {
		t.Error(err)
	}
	if ids, err := s.DeleteBySubject(t.Context(), r.Issuer, r.Subject, session.ReasonOperator); err != nil || len(ids) != 1 {
		t.Errorf("DeleteBySubject = %v, %v", ids, err)
	}
	if err := s.Ready(t.Context()); err != nil {
		t.Error(err)
	}
}
