package session

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"

	"github.com/gatehouse-dev/gatehouse/internal/logs"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

const (
	// leaseLength is how long a node counts as live after its last renewal. leaseRenewal is how
	// often a live node renews its lease and reads those of the others.
	leaseLength  = 30 * time.Second
	leaseRenewal = 10 * time.Second
	// leaseRetry is the interval after a failure.
	leaseRetry = time.Second
	// viewFresh is how old the view of the other nodes may be when it decides that a session is
	// lost, and viewTimeout how long reading it may take.
	viewFresh   = 100 * time.Millisecond
	viewTimeout = 5 * time.Second
	// silentNodes is how long a node waits for the expected number of nodes before it seals with a
	// newer key without them.
	silentNodes = time.Hour
	// sampled is how many stored sessions are read to find the key that seals them.
	sampled = 32
	// maxNodes bounds how many leases are read.
	maxNodes = 1000

	nodeKind = "node"
)

// leaseDue is when leases are due: in the past, so that DueNotes returns all of them.
var leaseDue = time.UnixMilli(1).UTC()

// ErrSealedElsewhere says that a value is sealed under a key, or has a format, that another live
// node has and this one does not. The session has not ended: the cookie must be kept and the
// request answered with 503.
var ErrSealedElsewhere = errors.New("session: sealed under a key or in a format of other nodes")

// A NoSharedSecretError says that a node shares no secret with the live nodes of its store. Each
// would answer requests for the other's sessions with 503.
type NoSharedSecretError struct {
	// Nodes is how many other nodes are live. Theirs and Ours are the IDs of keys, which reveal
	// nothing of the secrets.
	Nodes        int
	Theirs, Ours []string
}

func (e *NoSharedSecretError) Error() string {
	return fmt.Sprintf("session: Secrets has none of the secrets of the %d other live nodes of the session store (their keys %s, ours %s): "+
		"give this node the secret that they have, beside a new one if there is one; a killed node counts as live for %v; "+
		"with SecretsCompromised it starts without",
		e.Nodes, shownKeys(e.Theirs), shownKeys(e.Ours), leaseLength)
}

// shownKeys returns IDs of keys for a message. Those of others come from the store and may be any
// text.
func shownKeys(ids []string) string {
	const most, longest = 16, 64
	var shown []string
	for _, id := range ids[:min(len(ids), most)] {
		if strings.Trim(id, "0123456789abcdef") != "" || len(id) > longest {
			id = strconv.QuoteToASCII(id[:min(len(id), longest)])
		}
		shown = append(shown, id)
	}
	if len(ids) > most {
		shown = append(shown, "…")
	}
	return strings.Join(shown, " ")
}

// A lease is what a live node publishes: the IDs of its keys, and the versions of seals and formats
// of records that it can open. It is stored unsealed, since nodes without its keys read it.
type lease struct {
	Keys    []string `json:"keys"`
	Seals   []int    `json:"seals"`
	Formats []int    `json:"formats"`
}

func (l *lease) has(id seal.KeyID) bool { return slices.Contains(l.Keys, id.String()) }

// nodes are the processes that share a store. Each publishes a lease as a note, renews it while it
// runs, and seals under the newest key that all have.
type nodes struct {
	// store is nil where the store is local. Its notes are the leases.
	store Store
	notes NoteStore
	keys  *seal.Keyring
	now   func() time.Time
	log   *slog.Logger
	id    string
	// expected is how many nodes share the store, this one included; 0 if unknown.
	expected int
	// compromised makes the first key seal even if other nodes lack it.
	compromised bool

	mismatches *throttle.Log
	// reads and writes are the manager's.
	reads, writes *outage.Monitor

	// turn is held during a join, a renewal or a withdrawal, which call the store. Requests never
	// wait for it.
	turn sync.Mutex
	// joined is when this node published its first lease.
	joined time.Time
	// complete is whether the others are all that share the store. Missing ones may be of a version
	// that publishes nothing.
	complete atomic.Bool
	// settled is whether the key that seals was chosen by the leases of others or by stored
	// sessions.
	settled bool

	// views are the reads of leases that requests wait for.
	views singleflight.Group

	mu sync.Mutex
	// others are the live nodes by ID, as last read. The map is replaced, never changed.
	others map[string]lease
	// asked is when they were last read, and unread the error of that read.
	asked  time.Time
	unread error
	// failed is when publishing a lease last failed.
	failed time.Time
}

func newNodes(c ManagerConfig, notes NoteStore, keys *seal.Keyring, id string, now func() time.Time,
	log *slog.Logger, reads, writes *outage.Monitor) *nodes {
	n := &nodes{
		keys: keys, now: now, log: log, id: id, expected: c.Nodes, compromised: c.SecretsCompromised,
		mismatches: throttle.Every(time.Minute),
		reads:      reads, writes: writes,
	}
	if !isLocal(c.Store) {
		n.store, n.notes = c.Store, notes
	}
	return n
}

// join publishes this node unless it shares no secret with the others. If the store does not
// answer, it returns nil and run tries again.
func (n *nodes) join(ctx context.Context) error {
	if n.store == nil {
		return nil
	}
	err := n.tryJoin(ctx)
	if err != nil {
		n.withdraw(ctx)
	}
	return err
}

func (n *nodes) tryJoin(ctx context.Context) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if !n.joined.IsZero() {
		return nil
	}
	if !n.see(ctx) {
		return nil
	}
	if err := n.mismatch(n.keys); err != nil && !n.compromised {
		return err
	}
	n.choose(ctx)
	// A node that starts at the same moment was not in the first view. Of the two, one continues.
	if !n.publish(ctx) || !n.see(ctx) {
		return nil
	}
	if err := n.mismatch(n.keys); err != nil && !n.compromised {
		for other := range n.live() {
			if other < n.id {
				return err
			}
		}
	}
	n.choose(ctx)
	return nil
}

// run renews the lease until the context ends, and then withdraws it. Its error is that of join.
func (n *nodes) run(ctx context.Context) error {
	if n.store == nil {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			n.withdraw(context.WithoutCancel(ctx))
			return nil
		case <-timer.C:
		}
		if err := n.join(ctx); err != nil {
			return err
		}
		if n.renew(ctx) {
			timer.Reset(leaseRenewal)
		} else {
			timer.Reset(leaseRetry)
		}
	}
}

// renew reports whether the lease was renewed and the others' were read.
func (n *nodes) renew(ctx context.Context) bool {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.joined.IsZero() {
		return false
	}
	published := n.publish(ctx)
	if !n.see(ctx) {
		return false
	}
	if mismatch := n.mismatch(n.keys); mismatch != nil {
		if ok, held := n.mismatches.Next(); ok {
			n.log.LogAttrs(ctx, slog.LevelError,
				"no secret in common with other nodes: neither opens the other's sessions",
				slog.String("err", mismatch.Error()), slog.Int("suppressed", held))
		}
	}
	n.choose(ctx)
	return published
}

// replace replaces the keys. The key that seals still does, until all live nodes have published a
// newer one. It returns a NoSharedSecretError, and changes nothing, if no other node has one of the
// new keys.
func (n *nodes) replace(ctx context.Context, keys *seal.Keyring) error {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.store != nil && !n.joined.IsZero() && n.see(ctx) && !n.compromised {
		if err := n.mismatch(keys); err != nil {
			return err
		}
	}
	n.keys.Replace(keys)
	if n.store == nil || n.compromised {
		n.keys.SealWith(n.keys.IDs()[0])
		return nil
	}
	if !n.joined.IsZero() {
		n.publish(ctx) // run tries again after a failure
		n.choose(ctx)
	}
	return nil
}

// see is view for join and renew: it logs an error, and reports whether there was none.
func (n *nodes) see(ctx context.Context) bool {
	err := n.view(ctx)
	note(ctx, n.reads, err)
	return err == nil
}

// publish writes the lease and reports whether it did. turn is held, as in choose.
func (n *nodes) publish(ctx context.Context) bool {
	l := lease{Seals: []int{seal.Version}, Formats: []int{dataFormat, routesFormat}}
	for _, id := range n.keys.IDs() {
		l.Keys = append(l.Keys, id.String())
	}
	value, err := json.Marshal(l)
	if err == nil {
		err = n.notes.PutNote(ctx, Note{Kind: nodeKind, Key: n.id, Value: value, DueAt: leaseDue,
			ExpiresAt: n.now().Add(leaseLength).Truncate(time.Millisecond)})
	}
	note(ctx, n.writes, err)
	if err != nil {
		n.mu.Lock()
		n.failed = time.Now()
		n.mu.Unlock()
		return false
	}
	if n.joined.IsZero() {
		n.joined = time.Now()
	}
	return true
}

// withdraw removes the lease.
func (n *nodes) withdraw(ctx context.Context) {
	n.turn.Lock()
	defer n.turn.Unlock()
	if n.joined.IsZero() {
		return
	}
	n.joined = time.Time{}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	if _, err := n.notes.TakeNote(ctx, nodeKind, n.id); err != nil && !errors.Is(err, ErrNotFound) {
		n.log.LogAttrs(ctx, slog.LevelInfo,
			"lease not withdrawn: this node counts as live until it expires",
			slog.String("err", err.Error()), logs.Seconds("wait", leaseLength))
	}
}

// live returns the other nodes, as last read.
func (n *nodes) live() map[string]lease {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.others
}

// view reads the leases of the other nodes.
func (n *nodes) view(ctx context.Context) error {
	asked := time.Now()
	notes, err := n.notes.DueNotes(ctx, nodeKind, maxNodes)
	n.mu.Lock()
	defer n.mu.Unlock()
	if asked.Before(n.asked) {
		return err // a later read has finished
	}
	n.asked, n.unread = asked, err
	if err != nil {
		return err
	}
	others := make(map[string]lease, len(notes))
	for _, note := range notes {
		var l lease
		if note.Key == n.id || json.Unmarshal(note.Value, &l) != nil {
			continue
		}
		others[note.Key] = l
	}
	if time.Since(n.failed) < leaseLength {
		// The store accepts no writes, or did not until now: the others could not renew their
		// leases either.
		for id, l := range n.others {
			if _, ok := others[id]; !ok {
				others[id] = l
			}
		}
	}
	n.others = others
	return nil
}

// freshView is view for a request. It returns when the view is at most viewFresh older than the
// call.
func (n *nodes) freshView(ctx context.Context) error {
	since := time.Now().Add(-viewFresh)
	for {
		n.mu.Lock()
		asked, unread := n.asked, n.unread
		n.mu.Unlock()
		if !asked.Before(since) {
			return unread
		}
		done := n.views.DoChan("", func() (any, error) {
			bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), viewTimeout)
			defer cancel()
			return nil, n.view(bounded)
		})
		select {
		case <-done: // of a read that may have begun long before this call
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// mismatch returns a NoSharedSecretError if there are other nodes and none of them has one of the
// keys.
func (n *nodes) mismatch(keys *seal.Keyring) error {
	others := n.live()
	if len(others) == 0 {
		return nil
	}
	var theirs []string
	for _, l := range others {
		if slices.ContainsFunc(keys.IDs(), l.has) {
			return nil
		}
		theirs = append(theirs, l.Keys...)
	}
	slices.Sort(theirs)
	err := &NoSharedSecretError{Nodes: len(others), Theirs: slices.Compact(theirs)}
	for _, id := range keys.IDs() {
		err.Ours = append(err.Ours, id.String())
	}
	return err
}

// allRead reports whether all live nodes can read a format of data, as far as is known.
func (n *nodes) allRead(format int) bool {
	if n.store == nil {
		return true
	}
	if !n.complete.Load() {
		return false
	}
	for _, l := range n.live() {
		if !slices.Contains(l.Formats, format) {
			return false
		}
	}
	return true
}

func (n *nodes) shares(l lease) bool { return slices.ContainsFunc(n.keys.IDs(), l.has) }

// choose notes whether the others are complete, and makes the newest key seal that all live nodes have. Nodes that share no key with this one
// are ignored: they were started with SecretsCompromised.
func (n *nodes) choose(ctx context.Context) {
	ids, others := n.keys.IDs(), n.live()
	complete := len(others)+1 >= n.expected || !n.joined.IsZero() && time.Since(n.joined) > silentNodes
	n.complete.Store(complete && !n.joined.IsZero())
	if n.compromised || len(ids) == 1 {
		return // the first seals
	}
	common := slices.DeleteFunc(slices.Clone(ids), func(id seal.KeyID) bool {
		for _, l := range others {
			if n.shares(l) && !l.has(id) {
				return true
			}
		}
		return false
	})
	if len(common) == 0 {
		return
	}
	before := n.keys.Sealing()
	switch {
	case complete:
		n.settled = true
		n.keys.SealWith(common[0])
	case n.settled && slices.Contains(common, before):
	default:
		// The missing nodes are down, or of a version that publishes nothing and deletes what it
		// cannot open. They have the key of the stored sessions.
		id, found := n.sample(ctx, common)
		if !found {
			id = common[0]
		}
		n.settled = found
		n.keys.SealWith(id)
	}
	if after := n.keys.Sealing(); after != before {
		n.log.LogAttrs(ctx, slog.LevelInfo, "sessions are sealed with another secret",
			slog.String("key", after.String()),
			slog.Int("position", slices.Index(ids, after)+1), slog.Int("nodes", len(others)+1))
	}
}

// sample returns which of the keys seals the newest of some stored sessions.
func (n *nodes) sample(ctx context.Context, among []seal.KeyID) (id seal.KeyID, found bool) {
	page, _, err := n.store.List(ctx, "", sampled)
	if err != nil {
		return id, false
	}
	slices.SortFunc(page, func(a, b Record) int { return cmp.Compare(toMillis(b.CreatedAt), toMillis(a.CreatedAt)) })
	for _, r := range page {
		r, err := n.store.Get(ctx, r.ID)
		switch {
		case errors.Is(err, ErrNotFound):
			continue
		case err != nil:
			return id, false
		}
		if _, id = seal.Header(r.Sealed); slices.Contains(among, id) {
			return id, true
		}
	}
	return id, false
}

// elsewhere reports whether another live node can open a sealed value, by a fresh view. Format is
// that inside the seal, 0 if unknown.
func (n *nodes) elsewhere(ctx context.Context, sealed []byte, format int) (bool, error) {
	version, id := seal.Header(sealed)
	if n.store == nil || version == seal.Version && format <= newestFormat && slices.Contains(n.keys.IDs(), id) {
		return false, nil // sealed under a key of this node, and altered
	}
	if err := n.freshView(ctx); err != nil {
		return false, fmt.Errorf("session store: read leases: %w", err)
	}
	for _, l := range n.live() {
		switch {
		case version != seal.Version:
			if slices.Contains(l.Seals, int(version)) {
				return true, nil
			}
		case format > newestFormat:
			if slices.Contains(l.Formats, format) && l.has(id) {
				return true, nil
			}
		case l.has(id):
			return true, nil
		}
	}
	return false, nil
}
