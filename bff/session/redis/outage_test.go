//go:build unix

package redis_test

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/test/faults"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

func TestOutages(t *testing.T) {
	t.Parallel()
	sessiontest.RunOutages(t, func(t *testing.T) sessiontest.Storage {
		server := redistest.Start(t, "--appendonly", "yes", "--appendfsync", "always")
		return sessiontest.Storage{
			Open: func(t *testing.T) session.Store { return open(t, redis.Config{URL: "redis://" + server.Addr()}) },
			OpenAway: func(t *testing.T) (session.Store, func(), func(), func()) {
				proxy := faults.NewProxy(t, "tcp", server.Addr())
				return open(t, redis.Config{URL: "redis://" + proxy.Addr()}), proxy.Freeze, proxy.Thaw, proxy.Cut
			},
			Freeze:  func(t *testing.T) { server.Freeze(t) },
			Thaw:    func(t *testing.T) { server.Thaw(t) },
			Kill:    func(t *testing.T) { server.Kill() },
			Restart: func(t *testing.T) { server.Restart(t) },
		}
	})
}

// found waits for a session during an outage, and fails on ErrNotFound.
func found(t *testing.T, s *redis.Store, id session.ID) {
	t.Helper()
	eventually(t, "the session is there", func() bool {
		_, err := s.Get(t.Context(), id)
		if errors.Is(err, session.ErrNotFound) {
			t.Fatalf("an outage returned ErrNotFound: %v", err)
		}
		return err == nil
	})
}

// refreshed waits until a session can be written.
func refreshed(t *testing.T, s *redis.Store, id session.ID) {
	t.Helper()
	eventually(t, "the session can be written", func() bool {
		fence, err := s.Lock(t.Context(), id, 100*time.Millisecond)
		return err == nil && s.Write(t.Context(), id, fence, []byte("refreshed")) == nil
	})
}

func create(t *testing.T, s *redis.Store) session.Record {
	t.Helper()
	r := record()
	if err := s.Create(t.Context(), r, session.ID{}); err != nil {
		t.Fatal(err)
	}
	return r
}

// A killed or frozen master is replaced by the sentinels, and all sessions go on.
func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(*testing.T, *redistest.Server){
		"killed": func(_ *testing.T, s *redistest.Server) { s.Kill() },
		"frozen": func(t *testing.T, s *redistest.Server) { s.Freeze(t) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			master, _, sentinels := redistest.StartSentinels(t)
			var hosts []string
			for _, s := range sentinels {
				hosts = append(hosts, s.Addr())
			}
			c := redis.Config{URL: "redis-sentinel://" + strings.Join(hosts, ",") + "/main"}
			a, b := open(t, c), open(t, c)
			r, ends := create(t, a), create(t, a)
			found(t, b, r.ID)
			found(t, b, ends.ID)
			master.Replicated(t) // what Redis had not passed on would be lost

			goes(t, master)
			for _, s := range []*redis.Store{a, b} {
				found(t, s, r.ID)
				refreshed(t, s, r.ID)
			}
			if err := a.Delete(t.Context(), ends.ID, session.ReasonSignedOut); err != nil {
				t.Fatal(err)
			}
			ended := time.Now()
			eventually(t, "the end is seen", func() bool {
				asked := time.Now()
				_, err := b.Get(t.Context(), ends.ID)
				if err == nil && asked.Sub(ended) > time.Second {
					t.Fatalf("%v after its end the session is found", asked.Sub(ended))
				}
				return errors.Is(err, session.ErrNotFound)
			})
		})
	}
}

// A killed master of a cluster is replaced by its replica, and all sessions go on.
func TestClusterFailover(t *testing.T) {
	t.Parallel()
	servers := redistest.StartCluster(t, 3, 1)
	var hosts []string
	for _, s := range servers {
		hosts = append(hosts, s.Addr())
	}
	c := redis.Config{URL: "redis-cluster://" + strings.Join(hosts, ",")}
	a, b := open(t, c), open(t, c)
	var all []session.Record
	for range 10 { // some on each master
		r := create(t, a)
		found(t, b, r.ID)
		all = append(all, r)
	}
	for _, s := range servers[:3] {
		s.Replicated(t) // what Redis had not passed on would be lost
	}
	servers[0].Kill()
	for _, r := range all {
		found(t, a, r.ID)
		found(t, b, r.ID)
		refreshed(t, b, r.ID)
	}
	eventually(t, "the feed is restored", func() bool { return a.Ready(t.Context()) == nil && b.Ready(t.Context()) == nil })
	for _, r := range all {
		found(t, b, r.ID)
		if err := a.Delete(t.Context(), r.ID, session.ReasonSignedOut); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end is seen", func() bool { _, err := b.Get(t.Context(), r.ID); return errors.Is(err, session.ErrNotFound) })
	}
}

// Scripts that the server has lost, as after a failover, are sent again.
func TestForgottenScripts(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redis.Config{URL: "redis://" + server.Addr()})
	for range 2 {
		r := create(t, s)
		refreshed(t, s, r.ID)
		server.Do(t, "SCRIPT", "FLUSH")
	}
}

// After a server has lost all data, no session is found.
func TestFlushed(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redis.Config{URL: "redis://" + server.Addr()})
	r := create(t, s)
	found(t, s, r.ID)
	server.Do(t, "FLUSHALL")
	eventually(t, "the loss is seen", func() bool { _, err := s.Get(t.Context(), r.ID); return errors.Is(err, session.ErrNotFound) })
}

// Redis removes an expired session and its index entries.
func TestKeysExpire(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redis.Config{URL: "redis://" + server.Addr()})
	create(t, s)
	for i, due := range []time.Time{{}, time.Now()} {
		n := session.Note{Kind: "kind", Key: string(rune('a' + i)), DueAt: due, ExpiresAt: time.Now().Add(time.Hour)}
		if err := s.PutNote(t.Context(), n); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.CountNote(t.Context(), "kind", "c", time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	keys := strings.Fields(server.Do(t, "KEYS", "*"))
	if len(keys) != 7 {
		t.Errorf("there are %q, want a session, two indexes, three notes and a set of those that are due", keys)
	}
	for _, key := range keys {
		if ttl := server.Do(t, "PTTL", key); strings.HasPrefix(ttl, "-") {
			t.Errorf("%s never expires", key)
		}
	}
}

// Touch restores an index that a failover has lost.
func TestLostIndex(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := open(t, redis.Config{URL: "redis://" + server.Addr()})
	r := create(t, s)
	for key := range strings.FieldsSeq(server.Do(t, "KEYS", "gatehouse:s*:{*}")) {
		if !strings.Contains(key, ":session:") {
			server.Do(t, "DEL", key)
		}
	}
	if list, err := s.ListBySubject(t.Context(), r.Issuer, r.Subject); err != nil || len(list) != 0 {
		t.Fatalf("ListBySubject = %v, %v: the test is no test", list, err)
	}
	if err := s.Touch(t.Context(), r.ID, time.Now().Add(time.Second), r.IdleExpiresAt); err != nil {
		t.Fatal(err)
	}
	if ids, err := s.DeleteBySID(t.Context(), r.Issuer, r.SID, session.ReasonProvider); err != nil || len(ids) != 1 {
		t.Errorf("DeleteBySID = %v, %v, want the session", ids, err)
	}
}

func TestAtRest(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t, "--appendonly", "yes", "--aof-use-rdb-preamble", "no")
	sessiontest.AtRest(t, open(t, redis.Config{URL: "redis://" + server.Addr()}), func(t *testing.T) []byte {
		file := filepath.Join(t.TempDir(), "dump.rdb")
		_, port, _ := strings.Cut(server.Addr(), ":")
		if out, err := exec.Command("redis-cli", "-p", port, "--rdb", file).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		files, err := filepath.Glob(filepath.Join(server.Dir(), "appendonlydir", "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("the log of writes: %q, %v", files, err)
		}
		var all []byte
		for _, name := range append(files, file) {
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, b...)
		}
		return all
	})
}
