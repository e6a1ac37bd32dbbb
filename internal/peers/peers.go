// Package peers owns which servers of another part are called: it finds their
// addresses, probes each of them, and says which ones to use. It leaves the
// connections, the probe and the requests to its callers, gateway and bff.
package peers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
)

// The defaults of Config.
const (
	DefaultInterval = 500 * time.Millisecond
	DefaultTimeout  = time.Second
	DefaultResolve  = 10 * time.Second
	// GiveUp is how long a peer may be silent before it is no longer called even if
	// there is no other.
	GiveUp = 5 * time.Second
	// firstInterval is the time between the first two probes of an address. It doubles
	// until it is the interval of the configuration, or the address serves.
	firstInterval = 10 * time.Millisecond
	// restartTime is how long a peer that has said so may be away before that is an
	// outage.
	restartTime = 30 * time.Second
	// resolveSoon replaces Config.Resolve while a peer does not serve. It bounds the
	// time until the successor of a peer is found.
	resolveSoon = time.Second
	// lookupTimeout bounds one look-up of a name.
	lookupTimeout = 5 * time.Second
	// maxAddresses bounds the addresses of a name: each is probed and connected to, and
	// DNS may answer with thousands.
	maxAddresses = 100
)

// ErrUnready is wrapped by the error of a probe that the peer has answered: it
// does not want to be called.
var ErrUnready = errors.New("not ready")

// A State is what is known of a peer. A lower one is preferred.
type State int32

// The states of a peer.
const (
	Serving State = iota // the last probe succeeded
	New                  // not probed yet
	Unready              // answers that it does not want to be called
	Silent               // did not answer the last probe
	Lost                 // has not answered for GiveUp
)

// A Target is what a configuration names: one address, or a name with several.
type Target struct {
	Host, Port string
	Path       string // of a Unix socket, instead of Host and Port
	DNS        string // address of the DNS server to ask; "" for that of the system
}

// String returns the target as it is dialed.
func (t Target) String() string {
	if t.Path != "" {
		return "unix:" + t.Path
	}
	return net.JoinHostPort(t.Host, t.Port)
}

// Config configures a [Set]. Name, Targets and Probe are required.
type Config struct {
	// Name is what the peers are, such as "server" or "gateway", for log and metrics.
	Name string
	// Label is the name in metrics, if it is another one. Sets with a label are several
	// of a kind, and their caller measures the sum of their Counts.
	Label   string
	Targets []Target
	// Probe asks a peer whether it serves. It is called by one goroutine per peer.
	Probe func(ctx context.Context, p *Peer) error
	// Client, if not nil, makes the Client of each peer.
	Client func(p *Peer) any
	// Changed is called when peers have been added or removed, never concurrently.
	// removed peers are no longer probed.
	Changed func(removed []*Peer)
	// Interval is the time from one probe to the next, Timeout bounds one.
	Interval, Timeout time.Duration
	// Resolve is the time from one look-up of a name to the next.
	Resolve time.Duration
	// Lookup finds the IP addresses of a target's host. Default: DNS.
	Lookup func(ctx context.Context, t Target) ([]string, error)
	Logger *slog.Logger
	// MeterProvider makes the instruments; nil for none.
	MeterProvider metric.MeterProvider
}

// states has the states as they are measured.
var states = map[State]string{
	Serving: metrics.UpstreamReady, New: metrics.UpstreamNew, Unready: metrics.UpstreamNotReady,
	Silent: metrics.UpstreamSilent, Lost: metrics.UpstreamSilent,
}

// A Peer is one address of a target.
type Peer struct {
	Target  int    // index in Config.Targets
	Network string // "tcp" or "unix"
	Address string // to dial
	// Client is what the caller keeps for the peer, as long as it is in use: of
	// Config.Client.
	Client any

	state atomic.Int32

	stop   context.CancelFunc // of the probes
	outage *outage.Monitor

	// The set's lock guards these.
	added  time.Time
	served bool      // a probe has succeeded
	went   time.Time // when it said that it is not ready, while others serve; zero if it serves
	silent time.Time // since when it does not answer; zero if it does
	err    error     // of the last probe

	underWay sync.Mutex // guards the rest
	leaving  bool       // calls should leave the peer
	calls    map[Call]struct{}
}

// A Call is told when it should leave its peer.
type Call interface {
	// Leave is called once, in a goroutine of its own.
	Leave()
}

// State returns what is known of the peer.
func (p *Peer) State() State { return State(p.state.Load()) }

// Begin has c leave when the peer is silent and another one answers, at once if that
// is so already, until End. c is a pointer.
func (p *Peer) Begin(c Call) {
	p.underWay.Lock()
	defer p.underWay.Unlock()
	if p.leaving {
		go c.Leave()
		return
	}
	p.calls[c] = struct{}{}
}

// End ends what Begin began. c may be leaving at the same time.
func (p *Peer) End(c Call) {
	p.underWay.Lock()
	defer p.underWay.Unlock()
	delete(p.calls, c)
}

// leave has all calls leave, or none.
func (p *Peer) leave(leaving bool) {
	p.underWay.Lock()
	defer p.underWay.Unlock()
	p.leaving = leaving
	if leaving {
		for c := range p.calls {
			go c.Leave()
		}
		clear(p.calls)
	}
}

// A Set is the peers of some targets. It is safe for concurrent use.
type Set struct {
	cfg     Config
	cancel  context.CancelFunc
	work    sync.WaitGroup
	current atomic.Pointer[[]*Peer]
	next    atomic.Uint32
	wake    broadcast.Signal // a peer stopped serving
	names   []*outage.Monitor
	ejected *metrics.Counter

	mu       sync.Mutex
	ctx      context.Context
	pending  int           // targets that have not been looked up
	resolved chan struct{} // closed when there are none
	notFound []error       // of the last look-up, by target

	notify sync.Mutex // held while Changed is called
}

// NewSet returns a set without peers, until Start is called.
func NewSet(cfg Config) *Set {
	cfg.Interval = cmp.Or(cfg.Interval, DefaultInterval)
	cfg.Timeout = cmp.Or(cfg.Timeout, DefaultTimeout)
	cfg.Resolve = cmp.Or(cfg.Resolve, DefaultResolve)
	if cfg.Lookup == nil {
		cfg.Lookup = lookup
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Changed == nil {
		cfg.Changed = func([]*Peer) {}
	}
	s := &Set{cfg: cfg, resolved: make(chan struct{}), notFound: make([]error, len(cfg.Targets))}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.current.Store(new([]*Peer))
	s.ejected = metrics.NewCounter(cfg.MeterProvider, metrics.UpstreamEjections)
	if cfg.Label == "" {
		metrics.ObserveGauges(cfg.MeterProvider, metrics.UpstreamAddresses, func(_ context.Context, observe func(float64, ...string)) {
			for state, n := range s.Counts() {
				observe(float64(n), cfg.Name, state)
			}
		})
	}
	return s
}

// Counts returns how many peers there are in each state, by its name in metrics.
func (s *Set) Counts() map[string]int {
	counts := map[string]int{metrics.UpstreamReady: 0, metrics.UpstreamNew: 0, metrics.UpstreamNotReady: 0, metrics.UpstreamSilent: 0}
	for _, p := range s.Peers() {
		counts[states[p.State()]]++
	}
	return counts
}

// Start begins to look names up and to probe. When it returns, addresses that need
// no look-up are there. It is apart from NewSet because Probe and Changed may need
// the set. Close ends the work.
func (s *Set) Start() {
	var names []int
	s.pending = 1 // until all literal addresses are there
	for i, t := range s.cfg.Targets {
		if t.Path == "" && !isAddress(t.Host) {
			names = append(names, i)
			s.pending++
		}
	}
	s.names = make([]*outage.Monitor, len(s.cfg.Targets))
	for i, t := range s.cfg.Targets {
		switch {
		case t.Path != "":
			s.replace(i, "unix", []string{t.Path})
		case isAddress(t.Host):
			s.replace(i, "tcp", []string{t.String()})
		default:
			s.names[i] = outage.New(outage.Config{Name: "address of the " + s.cfg.Name, Logger: s.cfg.Logger.With("host", t.Host)})
		}
	}
	s.found()
	for _, i := range names {
		s.work.Go(func() { s.resolve(i) })
	}
}

// found records that a target has been looked up for the first time.
func (s *Set) found() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pending--; s.pending == 0 {
		close(s.resolved)
	}
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}

// Close ends the work and waits for it.
func (s *Set) Close() {
	s.mu.Lock()
	s.cancel() // under the lock, so that no probe starts after it
	s.mu.Unlock()
	s.work.Wait()
}

// Peers returns the peers in the order of their targets.
func (s *Set) Peers() []*Peer { return *s.current.Load() }

// Wait waits until every target has been looked up once.
func (s *Set) Wait(ctx context.Context) error {
	select {
	case <-s.resolved:
		return nil
	default:
	}
	select {
	case <-s.resolved:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Pick returns a peer to call: the next one in turn of those in the best state,
// without the one to leave out. It is nil if there is none, or if all are lost.
func (s *Set) Pick(except *Peer) *Peer {
	all := s.Peers()
	if i := Choose(s.next.Add(1), len(all), func(i int) *Peer { return all[i] }, except); i >= 0 {
		return all[i]
	}
	return nil
}

// Choose is Pick for n peers that the caller has, turn being a number that it
// counts up. It returns the index of the peer, or -1.
func Choose(turn uint32, n int, at func(int) *Peer, except *Peer) int {
	best, count := Lost, 0
	for i := range n {
		p := at(i)
		switch state := p.State(); {
		case p == except, state == Lost, state > best:
		case state < best:
			best, count = state, 1
		default:
			count++
		}
	}
	if count == 0 {
		return -1
	}
	skip := int(turn % uint32(count))
	for i := range n {
		p := at(i)
		if p == except || p.State() != best {
			continue
		}
		if skip == 0 {
			return i
		}
		skip--
	}
	return -1 // a state has changed meanwhile
}

// Ready returns why no peer serves, nil if one does. The error names addresses.
func (s *Set) Ready() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	errs := slices.Clone(s.notFound)
	for _, p := range s.Peers() {
		switch {
		case p.State() == Serving:
			return nil
		case p.err == nil:
			errs = append(errs, fmt.Errorf("%s has not been probed yet", p.Address))
		default:
			errs = append(errs, fmt.Errorf("%s: %w", p.Address, p.err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return errors.New("no address is known yet")
}

// resolve looks the name of a target up again and again.
func (s *Set) resolve(target int) {
	t := s.cfg.Targets[target]
	timer := time.NewTimer(0)
	defer timer.Stop()
	limited := false // the log has it
	for first := true; ; first = false {
		ctx, cancel := context.WithTimeout(s.ctx, lookupTimeout)
		found, err := s.cfg.Lookup(ctx, t)
		cancel()
		if err == nil && len(found) == 0 {
			err = errors.New("no address")
		}
		if s.ctx.Err() != nil {
			return
		}
		if len(found) > maxAddresses {
			if !limited {
				s.cfg.Logger.WarnContext(s.ctx, "name has too many addresses: the others are not used", "host", t.Host, "limit", maxAddresses)
			}
			slices.Sort(found) // DNS rotates them
			found = found[:maxAddresses]
			limited = true
		}
		if err == nil {
			for i, ip := range found {
				found[i] = net.JoinHostPort(ip, t.Port)
			}
			s.replace(target, "tcp", found)
		}
		s.mu.Lock()
		s.notFound[target] = err
		s.mu.Unlock()
		s.names[target].Note(s.ctx, err)
		if first {
			s.found()
		}
		woken := s.wake.Wait()
		wait := s.cfg.Resolve
		if err != nil || !s.allServe(target) {
			wait, woken = min(wait, resolveSoon), nil
		}
		timer.Reset(wait)
		select {
		case <-s.ctx.Done():
			return
		case <-timer.C:
		case <-woken:
		}
	}
}

// lookup asks DNS, or what the system uses instead.
func lookup(ctx context.Context, t Target) ([]string, error) {
	resolver := net.DefaultResolver
	if t.DNS != "" {
		resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, t.DNS)
		}}
	}
	return resolver.LookupHost(ctx, t.Host)
}

func (s *Set) allServe(target int) bool {
	return !slices.ContainsFunc(s.Peers(), func(p *Peer) bool { return p.Target == target && p.State() != Serving })
}

// replace gives a target these addresses. An address that another target has as
// well stays the other's.
func (s *Set) replace(target int, network string, addresses []string) {
	s.notify.Lock()
	defer s.notify.Unlock()
	s.mu.Lock()
	var all, removed []*Peer
	changed := false
	had := map[string]*Peer{}
	for _, p := range s.Peers() {
		had[p.Address] = p
		switch {
		case p.Target != target || slices.Contains(addresses, p.Address):
			all = append(all, p)
		default:
			p.stop()
			removed = append(removed, p)
			changed = true
		}
	}
	for _, address := range addresses {
		if had[address] == nil && s.ctx.Err() == nil {
			p := s.add(target, network, address)
			all, had[address] = append(all, p), p
			changed = true
		}
	}
	slices.SortStableFunc(all, func(a, b *Peer) int { return cmp.Compare(a.Target, b.Target) })
	if changed {
		s.current.Store(&all)
		s.reconsider()
	}
	s.mu.Unlock()
	if changed {
		s.cfg.Changed(removed)
	}
}

// add begins to probe an address.
func (s *Set) add(target int, network, address string) *Peer {
	p := &Peer{Target: target, Network: network, Address: address, added: time.Now(), calls: map[Call]struct{}{}}
	p.state.Store(int32(New))
	p.outage = outage.New(outage.Config{Name: s.cfg.Name, Logger: s.cfg.Logger.With("address", address)})
	if s.cfg.Client != nil {
		p.Client = s.cfg.Client(p)
	}
	var ctx context.Context
	ctx, p.stop = context.WithCancel(s.ctx)
	s.work.Go(func() { s.probe(ctx, p) })
	return p
}

// probe probes a peer until the context ends: after each Interval, and sooner at first,
// because processes that are started together wait for each other.
func (s *Set) probe(ctx context.Context, p *Peer) {
	wait := min(firstInterval, s.cfg.Interval)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		bounded, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		err := s.cfg.Probe(bounded, p)
		if err != nil && bounded.Err() != nil {
			err = fmt.Errorf("no answer to a probe within %v", s.cfg.Timeout)
		}
		cancel()
		if ctx.Err() != nil {
			return
		}
		s.note(ctx, p, err)
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		if wait = min(2*wait, s.cfg.Interval); err == nil {
			wait = s.cfg.Interval
		}
		timer.Reset(wait)
	}
}

// note records the outcome of a probe.
func (s *Set) note(ctx context.Context, p *Peer, err error) {
	now := time.Now()
	s.mu.Lock()
	was := p.State()
	state := Serving
	p.err = err
	switch {
	case err == nil:
	case errors.Is(err, ErrUnready):
		state = Unready
	case p.silent.IsZero():
		p.silent, state = now, Silent
	case now.Sub(p.silent) < GiveUp:
		state = Silent
	default:
		state = Lost
	}
	if state < Silent {
		p.silent = time.Time{}
	}
	p.served = p.served || err == nil
	leaves := was == Serving && state == Unready && s.serves(p, -1)
	switch {
	case state == Serving:
		p.went = time.Time{}
	case leaves:
		p.went = now
	}
	if state != was {
		p.state.Store(int32(state))
		s.reconsider()
	}
	// An address that has never served may be that of a process that is starting, or
	// of a machine that has another one, as localhost is 127.0.0.1 and ::1.
	quiet := err != nil && !p.served && (now.Sub(p.added) < GiveUp || s.serves(p, p.Target))
	// While others serve, one that leaves, as in a rolling restart, is no outage.
	quiet = quiet || err != nil && !p.went.IsZero() && now.Sub(p.went) < restartTime && s.serves(p, -1)
	s.mu.Unlock()
	if was == Serving && state != Serving {
		s.ejected.Add(cmp.Or(s.cfg.Label, s.cfg.Name), states[state])
		s.wake.Send()
	}
	if leaves {
		s.cfg.Logger.InfoContext(ctx, "address not ready", "address", p.Address, "err", err)
	}
	if !quiet {
		p.outage.Note(ctx, err)
	}
}

// serves reports whether another peer serves, of this target or, if that is -1, of
// any.
func (s *Set) serves(except *Peer, target int) bool {
	return slices.ContainsFunc(s.Peers(), func(p *Peer) bool {
		return p != except && (target < 0 || p.Target == target) && p.State() == Serving
	})
}

// reconsider has calls leave silent peers if another one answers.
func (s *Set) reconsider() {
	all := s.Peers()
	better := slices.ContainsFunc(all, func(p *Peer) bool { return p.State() == Serving || p.State() == Unready })
	for _, p := range all {
		p.leave(better && p.State() >= Silent)
	}
}
