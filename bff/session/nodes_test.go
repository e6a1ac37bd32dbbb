package session_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/memory"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
)

// A place is a store that several nodes share.
type place struct {
	sessiontest.Store
	readOnly atomic.Bool
}

// sharedPlace returns a place by the clock of the bubble.
func sharedPlace(t *testing.T) *place {
	t.Helper()
	store, err := memory.New(memory.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return &place{Store: store}
}

// door is a node's access to the place, until it is killed.
type door struct {
	*place
	dead atomic.Bool
}

var (
	errKilled   = errors.New("the node was killed")
	errReadOnly = errors.New("the store takes no writes")
)

func (d *door) writable() error {
	switch {
	case d.dead.Load():
		return errKilled
	case d.readOnly.Load():
		return errReadOnly
	}
	return nil
}

func (d *door) PutNote(ctx context.Context, n session.Note) error {
	if err := d.writable(); err != nil {
		return err
	}
	return d.place.PutNote(ctx, n)
}

func (d *door) TakeNote(ctx context.Context, kind, key string) (session.Note, error) {
	if err := d.writable(); err != nil {
		return session.Note{}, err
	}
	return d.place.TakeNote(ctx, kind, key)
}

// A member is a node of the place.
type member struct {
	*fixture
	door *door
	quit context.CancelFunc
	done chan error
}

func (p *place) member(t *testing.T, secrets []string, change ...func(*session.ManagerConfig)) *member {
	t.Helper()
	d := &door{place: p}
	c := session.ManagerConfig{Store: d, Secrets: secrets}
	for _, ch := range change {
		ch(&c)
	}
	m, err := session.NewManager(c)
	if err != nil {
		t.Fatal(err)
	}
	return &member{fixture: &fixture{Manager: m, store: d, secrets: secrets}, door: d}
}

// start runs a member that may join.
func (p *place) start(t *testing.T, secrets []string, change ...func(*session.ManagerConfig)) *member {
	t.Helper()
	m := p.member(t, secrets, change...)
	if err := m.Join(t.Context()); err != nil {
		t.Fatalf("Join: %v", err)
	}
	ctx, quit := context.WithCancel(t.Context())
	m.quit, m.done = quit, make(chan error, 1)
	go func() { m.done <- m.Run(ctx) }()
	t.Cleanup(quit)
	return m
}

func (m *member) stop(t *testing.T) {
	t.Helper()
	m.quit()
	if err := <-m.done; err != nil {
		t.Errorf("Run: %v", err)
	}
}

// kill ends a member without withdrawing its lease.
func (m *member) kill(t *testing.T) {
	t.Helper()
	m.door.dead.Store(true)
	m.stop(t)
}

// elsewhere checks that only other nodes can open the session.
func (m *member) elsewhere(t *testing.T, c *http.Cookie) {
	t.Helper()
	if _, err := m.Load(t.Context(), request(c)); !errors.Is(err, session.ErrSealedElsewhere) || errors.Is(err, session.ErrNotFound) {
		t.Errorf("Load: %v, want ErrSealedElsewhere", err)
	}
}

// kept checks that the record of a session is in the store.
func (p *place) kept(t *testing.T, s *session.Session) {
	t.Helper()
	if _, err := p.Get(t.Context(), s.ID); err != nil {
		t.Errorf("the record: %v, want it kept", err)
	}
}

// keyOf returns the key that seals a stored session.
func (p *place) keyOf(t *testing.T, s *session.Session) seal.KeyID {
	t.Helper()
	r, err := p.Get(t.Context(), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, id := seal.Header(r.Sealed)
	return id
}

func keyID(t *testing.T, secret string) seal.KeyID {
	t.Helper()
	k, err := seal.NewKeyring(secret)
	if err != nil {
		t.Fatal(err)
	}
	return k.IDs()[0]
}

// For any order of secrets, restarts and kills, all live nodes open what one node seals.
func TestRollingRotation(t *testing.T) {
	t.Parallel()
	old, fresh := secret(), secret()
	for name, to := range map[string][]string{"the new one first": {fresh, old}, "the old one first": {old, fresh}} {
		for _, killed := range []bool{false, true} {
			for _, nodes := range []int{0, 3} {
				t.Run(fmt.Sprintf("%s, killed %t, nodes known %t", name, killed, nodes > 0), func(t *testing.T) {
					t.Parallel()
					synctest.Test(t, func(t *testing.T) {
						known := func(c *session.ManagerConfig) { c.Nodes = nodes }
						p := sharedPlace(t)
						fleet := []*member{p.start(t, []string{old}, known), p.start(t, []string{old}, known), p.start(t, []string{old}, known)}
						var cookies []*http.Cookie
						var last *session.Session
						everywhere := func(live []*member) {
							t.Helper()
							for _, m := range live {
								s, cookie := m.login(t)
								last, cookies = s, append(cookies, cookie)
								attempt, err := m.Seal("login attempt", nil, []byte("x"))
								if err != nil {
									t.Fatal(err)
								}
								for _, other := range live {
									if _, err := other.Open("login attempt", nil, attempt); err != nil {
										t.Errorf("an attempt of one node at another: %v", err)
									}
								}
							}
							for _, m := range live {
								for _, c := range cookies {
									m.load(t, c)
								}
							}
						}
						roll := func(to []string) {
							t.Helper()
							for i := range fleet {
								if killed {
									fleet[i].kill(t)
								} else {
									fleet[i].stop(t)
								}
								live := slices.Delete(slices.Clone(fleet), i, i+1)
								everywhere(live)
								time.Sleep(15 * time.Second)
								everywhere(live)
								fleet[i] = p.start(t, to, known)
								everywhere(fleet)
								time.Sleep(5 * time.Second)
								everywhere(fleet)
							}
							time.Sleep(time.Minute)
							everywhere(fleet)
						}
						everywhere(fleet)
						roll(to)
						if got, want := p.keyOf(t, last), keyID(t, to[0]); got != want {
							t.Errorf("after the rotation %s seals, want %s", got, want)
						}
						roll([]string{fresh, old})
						cookies = nil // the old secret's sessions have ended by time when it goes
						roll([]string{fresh})
						for _, m := range fleet {
							m.stop(t)
						}
					})
				})
			}
		}
	}
}

// A record that a node cannot open stays, and is 503 while a live node can open it.
func TestUnopenableStays(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mine, theirs := secret(), secret()
		p := sharedPlace(t)
		forced := func(c *session.ManagerConfig) { c.SecretsCompromised = true }
		here, there := p.start(t, []string{mine}), p.start(t, []string{theirs}, forced)
		s, cookie := there.login(t)
		time.Sleep(time.Second)
		here.elsewhere(t, cookie)
		there.load(t, cookie)
		p.kept(t, s)

		there.kill(t)
		time.Sleep(28 * time.Second)
		here.elsewhere(t, cookie)
		time.Sleep(2 * time.Second)
		here.signedOut(t, cookie)
		p.kept(t, s)

		// A node with the secret opens it later.
		there = p.start(t, []string{theirs}, forced)
		there.load(t, cookie)
		time.Sleep(2 * time.Second)
		here.elsewhere(t, cookie)
		there.stop(t)
		time.Sleep(2 * time.Second)
		here.signedOut(t, cookie)
		p.kept(t, s)
		here.stop(t)
	})
}

// A record in a newer format, inside or outside the seal, belongs to the nodes that publish the
// format.
func TestNewerFormat(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := sharedPlace(t)
		old := secret()
		m := p.start(t, []string{old})
		inside, insideCookie := m.login(t)
		outside, outsideCookie := m.login(t)
		altered, alteredCookie := m.login(t)
		rewrite := func(s *session.Session, plain []byte, change func([]byte)) {
			t.Helper()
			sealed, err := m.SealPlain(s, plain)
			if err != nil {
				t.Fatal(err)
			}
			change(sealed)
			fence, err := p.Lock(t.Context(), s.ID, time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Write(t.Context(), s.ID, fence, sealed); err != nil {
				t.Fatal(err)
			}
		}
		rewrite(inside, []byte("\x03what a newer build writes"), func([]byte) {})
		rewrite(outside, []byte("\x01"), func(sealed []byte) { sealed[0] = 2 })
		rewrite(altered, []byte("\x01"), func(sealed []byte) { sealed[len(sealed)-1] ^= 1 })
		publish := func(key, value string) {
			t.Helper()
			if err := p.PutNote(t.Context(), session.Note{Kind: "node", Key: key, Value: []byte(value),
				DueAt: time.UnixMilli(1), ExpiresAt: time.Now().Add(30 * time.Second)}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(2 * time.Second) // a view that is fresh
		}
		for _, c := range []*http.Cookie{insideCookie, outsideCookie, alteredCookie} {
			m.signedOut(t, c)
		}
		publish("broken", "{")
		publish("newer", `{"keys":["`+keyID(t, old).String()+`"],"seals":[1,2],"formats":[1,2,3],"more":true}`)
		m.elsewhere(t, insideCookie)
		m.elsewhere(t, outsideCookie)
		m.signedOut(t, alteredCookie)
		time.Sleep(31 * time.Second)
		for _, c := range []*http.Cookie{insideCookie, outsideCookie, alteredCookie} {
			m.signedOut(t, c)
		}
		for _, s := range []*session.Session{inside, outside, altered} {
			p.kept(t, s)
		}
		m.stop(t)
	})
}

func TestJoinRefusesStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := sharedPlace(t)
		good, wrong := secret(), secret()
		here := p.start(t, []string{good})
		refused := p.member(t, []string{wrong})
		for _, err := range []error{refused.Join(t.Context()), refused.Run(t.Context())} {
			mismatch, ok := errors.AsType[*session.NoSharedSecretError](err)
			if !ok || mismatch.Nodes != 1 || !strings.Contains(err.Error(), keyID(t, good).String()) ||
				strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), good) {
				t.Errorf("a node with another secret: %v, want a NoSharedSecretError that names the keys and no secret", err)
			}
		}
		if notes, err := p.DueNotes(t.Context(), "node", 10); err != nil || len(notes) != 1 {
			t.Errorf("%d leases, %v, want that of the first node", len(notes), err)
		}
		// With SecretsCompromised, the others go on sealing under their key, and another of them
		// can start.
		forced := p.start(t, []string{wrong}, func(c *session.ManagerConfig) { c.SecretsCompromised = true })
		time.Sleep(time.Minute)
		again := p.start(t, []string{secret(), good})
		_, cookie := again.login(t)
		here.load(t, cookie)
		forced.elsewhere(t, cookie)
		forced.stop(t)
		// A killed node counts as live until its lease ends.
		here.kill(t)
		again.kill(t)
		if err := p.member(t, []string{wrong}).Join(t.Context()); err == nil {
			t.Error("joined beside the leases of killed nodes")
		}
		time.Sleep(31 * time.Second)
		last := p.start(t, []string{wrong})
		last.stop(t)
	})
}

// Of two nodes with different secrets that start at once, one starts.
func TestStrangersStartTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			p := sharedPlace(t)
			first, second := newBarrier(), newBarrier()
			var errs [2]chan error
			for i := range errs {
				errs[i] = make(chan error, 1)
				m, err := session.NewManager(session.ManagerConfig{Secrets: []string{secret()}, Store: &meeting{place: p, first: first, second: second}})
				if err != nil {
					t.Fatal(err)
				}
				go func() { errs[i] <- m.Join(t.Context()) }()
			}
			a, b := <-errs[0], <-errs[1]
			if (a == nil) == (b == nil) {
				t.Fatalf("the two got %v and %v, want one error", a, b)
			}
		}
	})
}

// A meeting makes two nodes read no leases before one publishes, and publish both before one reads
// again.
type meeting struct {
	*place
	first, second *barrier
	looked        bool
}

func (m *meeting) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	notes, err := m.place.DueNotes(ctx, kind, limit)
	if !m.looked {
		m.looked = true
		m.first.wait()
	}
	return notes, err
}

func (m *meeting) PutNote(ctx context.Context, n session.Note) error {
	defer m.second.wait()
	return m.place.PutNote(ctx, n)
}

// A barrier holds a goroutine until a second arrives.
type barrier struct {
	came atomic.Int32
	both chan struct{}
}

func newBarrier() *barrier { return &barrier{both: make(chan struct{})} }

func (b *barrier) wait() {
	if b.came.Add(1) == 2 {
		close(b.both)
	}
	<-b.both
}

// Nodes know each other also while a store takes no writes for longer than leases last.
func TestLeasesOutliveAReadOnlyStore(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := sharedPlace(t)
		old, fresh, other := secret(), secret(), secret()
		a, b := p.start(t, []string{fresh, old}), p.start(t, []string{old})
		c := p.start(t, []string{other}, func(c *session.ManagerConfig) { c.SecretsCompromised = true })
		_, cookie := c.login(t)
		p.readOnly.Store(true)
		time.Sleep(2 * time.Minute)
		b.elsewhere(t, cookie)
		p.readOnly.Store(false)
		s, made := a.login(t)
		if got := p.keyOf(t, s); got != keyID(t, old) {
			t.Errorf("%s seals, want that of all nodes", got)
		}
		b.load(t, made)
		b.elsewhere(t, cookie)
		for _, m := range []*member{a, b, c} {
			m.stop(t)
		}
	})
}

// Nodes of an earlier version publish nothing and delete what they cannot open. While nodes are
// missing, the key of the stored sessions seals.
func TestMissingNodes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, fresh := secret(), secret()
		three := func(c *session.ManagerConfig) { c.Nodes = 3 }
		p := sharedPlace(t)
		silent := p.member(t, []string{old})
		silent.login(t)
		seals := func(m *member, want string) {
			t.Helper()
			s, cookie := m.login(t)
			if got := p.keyOf(t, s); got != keyID(t, want) {
				t.Errorf("%s seals, want the old one: %t", got, want == old)
			}
			if want == old {
				silent.load(t, cookie)
			}
		}
		a := p.start(t, []string{fresh, old}, three)
		seals(a, old)
		time.Sleep(30 * time.Minute)
		seals(a, old)
		b := p.start(t, []string{fresh, old}, three)
		seals(b, old)
		c := p.start(t, []string{fresh, old}, three)
		seals(c, fresh)
		time.Sleep(11 * time.Second)
		seals(a, fresh)
		// A node that leaves changes nothing.
		b.stop(t)
		time.Sleep(time.Minute)
		seals(a, fresh)
		c.stop(t)
		a.stop(t)
		// After an hour, missing nodes are ignored.
		q := sharedPlace(t)
		q.member(t, []string{old}).login(t)
		alone := q.start(t, []string{fresh, old}, three)
		time.Sleep(61 * time.Minute)
		s, _ := alone.login(t)
		if got := q.keyOf(t, s); got != keyID(t, fresh) {
			t.Errorf("after an hour %s seals, want the new one", got)
		}
		alone.stop(t)
	})
}

// Notes that a node cannot open are left to others, and do not hide later ones.
func TestNotesOfOtherKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := sharedPlace(t)
		here := p.start(t, []string{secret()})
		there := p.start(t, []string{secret()}, func(c *session.ManagerConfig) { c.SecretsCompromised = true })
		time.Sleep(time.Second)
		now, later := time.Now(), time.Now().Add(time.Hour)
		const kind = "revocation"
		for i := range 50 {
			if err := there.Notes(kind).Put(t.Context(), fmt.Sprint(i), fmt.Append(nil, "theirs ", i), now.Add(-time.Minute), later); err != nil {
				t.Fatal(err)
			}
		}
		if err := here.Notes(kind).Put(t.Context(), "mine", []byte("mine"), now, later); err != nil {
			t.Fatal(err)
		}
		values, err := here.Notes(kind).TakeDue(t.Context(), 4)
		if err != nil || len(values) != 1 || string(values[0]) != "mine" {
			t.Errorf("TakeDue = %q, %v, want mine", values, err)
		}
		for range 2 {
			if _, err := here.Notes(kind).Take(t.Context(), "7"); !errors.Is(err, session.ErrSealedElsewhere) {
				t.Errorf("Take: %v, want ErrSealedElsewhere", err)
			}
			if _, err := here.Notes(kind).Get(t.Context(), "7"); !errors.Is(err, session.ErrSealedElsewhere) {
				t.Errorf("Get: %v, want ErrSealedElsewhere", err)
			}
		}
		if first, err := here.Notes(kind).Add(t.Context(), "7", nil, later); err != nil || first {
			t.Errorf("Add = %t, %v, want that it was there", first, err)
		}
		there.stop(t)
		time.Sleep(2 * time.Second)
		if _, err := here.Notes(kind).Take(t.Context(), "7"); !errors.Is(err, session.ErrNotFound) {
			t.Errorf("Take: %v, want ErrNotFound", err)
		}
		there = p.start(t, there.secrets, func(c *session.ManagerConfig) { c.SecretsCompromised = true })
		total := 0
		for range 20 {
			values, err := there.Notes(kind).TakeDue(t.Context(), 4)
			if err != nil {
				t.Fatal(err)
			}
			total += len(values)
		}
		if total != 50 {
			t.Errorf("their node took %d notes, want 50", total)
		}
		there.stop(t)
		here.stop(t)
	})
}

// A store of one process needs no leases.
func TestProcessLocalStore(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	if err := f.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	if notes, err := f.store.DueNotes(t.Context(), "node", 1); err != nil || len(notes) != 0 {
		t.Errorf("leases: %v, %v, want none", notes, err)
	}
	if err := f.with(t, secret()).Join(t.Context()); err != nil {
		t.Errorf("a restart with another secret: %v", err)
	}
}
