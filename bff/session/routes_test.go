package session_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

func routeToken(n int) session.RouteToken {
	now := time.Now().UTC().Truncate(time.Millisecond)
	return session.RouteToken{
		Key: fmt.Sprint("key", n), Access: "route-" + rand.Text(),
		ObtainedAt: now.Add(time.Duration(n) * time.Second), ExpiresAt: now.Add(time.Hour),
	}
}

// rewritten stores new data of a session, and returns the session as it was returned and as it is
// stored.
func (f *fixture) rewritten(t testing.TB, s *session.Session, d session.Data) (written, stored *session.Session, plain []byte) {
	t.Helper()
	fence, err := f.Lock(t.Context(), s, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if written, err = f.Write(t.Context(), s, fence, d); err != nil {
		t.Fatal(err)
	}
	if stored, err = f.Reload(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r, err := f.store.Get(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err = f.OpenPlain(s, r.Sealed); err != nil {
		t.Fatal(err)
	}
	return written, stored, plain
}

func TestRouteTokensAreStored(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s, _ := f.login(t)
	before, err := session.EncodeData(s.Data)
	if err != nil {
		t.Fatal(err)
	}
	one, two := routeToken(1), routeToken(2)
	written, stored, plain := f.rewritten(t, s, s.Data.WithRoute(one, time.Now()).WithRoute(two, time.Now()))
	if want := []session.RouteToken{one, two}; !reflect.DeepEqual(stored.Data.Routes, want) || !reflect.DeepEqual(written.Data.Routes, want) {
		t.Errorf("stored %d and returned %d route tokens, want both as given", len(stored.Data.Routes), len(written.Data.Routes))
	}
	if plain[0] != 2 || stored.Data.Tokens != s.Data.Tokens || !reflect.DeepEqual(stored.Data.Claims, s.Data.Claims) {
		t.Errorf("format %d; tokens and claims must stay the same", plain[0])
	}
	other := routeToken(2)
	_, stored, _ = f.rewritten(t, s, stored.Data.WithRoute(other, time.Now()))
	if got, ok := stored.Data.Route("key2"); !ok || got != other || len(stored.Data.Routes) != 2 {
		t.Errorf("%d route tokens after a second one for a key, want it in place of the first", len(stored.Data.Routes))
	}
	// Tokens that have expired go at the next write, and without any the format is the old one.
	late := stored.Data.WithRoute(one, other.ExpiresAt)
	if len(late.Routes) != 1 {
		t.Errorf("%d route tokens after the others expired, want 1", len(late.Routes))
	}
	late.Routes = nil
	if _, _, plain = f.rewritten(t, s, late); !bytes.Equal(plain, before) {
		t.Errorf("without route tokens this build writes %q, want %q", plain, before)
	}
}

func TestRouteTokensAreLimited(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s, _ := f.login(t)
	d := s.Data
	for n := range 2 * session.MaxRoutes {
		d = d.WithRoute(routeToken(n), time.Now())
	}
	written, stored, _ := f.rewritten(t, s, d)
	if _, ok := written.Data.Route("key31"); !ok || len(written.Data.Routes) != session.MaxRoutes || len(stored.Data.Routes) != session.MaxRoutes {
		t.Errorf("%d route tokens, want the newest %d", len(stored.Data.Routes), session.MaxRoutes)
	}
	if _, ok := written.Data.Route("key15"); ok {
		t.Error("an older token was kept in place of a newer one")
	}
	// Claims come first: a write must not fail because of route tokens.
	d.Claims = map[string]any{"big": strings.Repeat("x", 200<<10)}
	d.Routes = nil
	for n := range session.MaxRoutes {
		token := routeToken(n)
		token.Access = strings.Repeat("t", 16<<10)
		d = d.WithRoute(token, time.Now())
	}
	_, stored, plain := f.rewritten(t, s, d)
	if _, ok := stored.Data.Route("key15"); !ok || len(stored.Data.Routes) == session.MaxRoutes || len(plain) > 256<<10 {
		t.Errorf("%d route tokens in %d bytes, want the newest in at most 256 KiB", len(stored.Data.Routes), len(plain))
	}
}

// A node writes route tokens only while all live nodes can read them.
func TestRouteTokensAndOlderNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := sharedPlace(t)
		key := secret()
		m := p.start(t, []string{key}, func(c *session.ManagerConfig) { c.Nodes = 2 })
		s, cookie := m.login(t)
		write := func(want int) {
			t.Helper()
			fence, err := m.Lock(t.Context(), s, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			written, err := m.Write(t.Context(), s, fence, s.Data.WithRoute(routeToken(1), time.Now()))
			if err != nil {
				t.Fatal(err)
			}
			if stored := m.load(t, cookie); len(stored.Data.Routes) != want || len(written.Data.Routes) != want {
				t.Errorf("stored %d and returned %d route tokens, want %d", len(stored.Data.Routes), len(written.Data.Routes), want)
			}
		}
		publish := func(formats string) {
			t.Helper()
			if err := p.PutNote(t.Context(), session.Note{Kind: "node", Key: "other",
				Value: []byte(`{"keys":["` + keyID(t, key).String() + `"],"seals":[1],"formats":` + formats + `}`),
				DueAt: time.UnixMilli(1), ExpiresAt: time.Now().Add(30 * time.Second)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(11 * time.Second) // until the next view
		}
		write(0) // one of the two is missing
		publish("[1]")
		write(0)
		publish("[1,2]")
		write(1)
		publish("[1]")
		write(0)
		time.Sleep(time.Hour + time.Minute)
		write(1) // the other node is gone
		m.stop(t)
	})
}

// The bytes of format 2, which other nodes read.
func TestRouteFormat(t *testing.T) {
	t.Parallel()
	at := time.UnixMilli(1).UTC()
	d := session.Data{Claims: map[string]any{"sub": "x"}, Tokens: session.Tokens{Access: "a", Refresh: "r", ObtainedAt: at, ExpiresAt: at}}
	d.Routes = []session.RouteToken{{Key: "k", Access: "t", ObtainedAt: at, ExpiresAt: at}}
	const want = "\x02\x01a\x01r\x00\x00\x00\x02\x02\x01\x01k\x01t\x02\x02{\"sub\":\"x\"}"
	got, err := session.EncodeData(d)
	if err != nil || string(got) != want {
		t.Errorf("EncodeData: %q, %v, want %q", got, err, want)
	}
	back, err := session.DecodeData(got)
	if err != nil || !reflect.DeepEqual(back, d) {
		t.Errorf("DecodeData: %v, %v", back, err)
	}
	for what, hostile := range map[string]string{
		"no tokens":          strings.Replace(want, "\x01\x01k\x01t\x02\x02", "\x00", 1),
		"17 tokens":          strings.Replace(want, "\x01\x01k", "\x11\x01k", 1),
		"2^63 tokens":        strings.Replace(want, "\x01\x01k", "\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01k", 1),
		"a key of 2^63":      strings.Replace(want, "\x01k", "\xff\xff\xff\xff\xff\xff\xff\xff\x7fk", 1),
		"cut":                want[:12],
		"more after it":      want + "{}",
		"the format of none": "\x01" + want[1:],
	} {
		if _, err := session.DecodeData([]byte(hostile)); err == nil {
			t.Errorf("%s: no error", what)
		}
	}
}

func FuzzDecodeData(f *testing.F) {
	d := data()
	for range 3 {
		plain, err := session.EncodeData(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(plain)
		d = d.WithRoute(routeToken(len(d.Routes)), time.Now())
	}
	f.Fuzz(func(t *testing.T, plain []byte) {
		d, err := session.DecodeData(plain)
		if err != nil {
			return
		}
		again, err := session.EncodeData(d)
		if err != nil {
			return // claims of 256 KiB
		}
		if back, err := session.DecodeData(again); err != nil || !reflect.DeepEqual(back, d) {
			t.Errorf("decoded %v, and after encoding %v, %v", d, back, err)
		}
	})
}
