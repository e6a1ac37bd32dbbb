package dial

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/balancer"
	"google.golang.org/grpc/balancer/endpointsharding"
	"google.golang.org/grpc/balancer/pickfirst"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// policy is the name of the load balancing policy, which gRPC keeps for the whole
// process.
const policy = "gatehouse_probed"

// scheme is that of the target of the grpc.ClientConn, whose resolver is its own.
const scheme = "gatehouse"

func init() { balancer.Register(builder{}) }

type builder struct{}

func (builder) Name() string { return policy }

// Build returns a policy that keeps a connection to each peer, as round_robin does,
// and chooses by what the probes have found.
func (builder) Build(cc balancer.ClientConn, opts balancer.BuildOptions) balancer.Balancer {
	return endpointsharding.NewBalancer(probed{cc}, opts, balancer.Get(pickfirst.Name).Build, endpointsharding.Options{})
}

// probed replaces the pickers of the policy below.
type probed struct{ balancer.ClientConn }

func (cc probed) UpdateState(state balancer.State) {
	p := &picker{otherwise: state.Picker}
	for _, child := range endpointsharding.ChildStatesFromPicker(state.Picker) {
		e := endpoint{peer: peerOf(child.Endpoint), picker: child.State.Picker}
		p.all = append(p.all, e)
		if child.State.ConnectivityState == connectivity.Ready {
			p.ready = append(p.ready, e)
		}
	}
	state.Picker = p
	cc.ClientConn.UpdateState(state)
}

// An endpoint is a peer with the picker of its connection.
type endpoint struct {
	peer   *peers.Peer
	picker balancer.Picker
}

// A picker chooses among the connections of a moment.
type picker struct {
	all, ready []endpoint
	otherwise  balancer.Picker // while no connection is ready
	turn       atomic.Uint32
}

// Pick chooses the peer of a call.
func (p *picker) Pick(info balancer.PickInfo) (balancer.PickResult, error) {
	a := attemptOf(info.Ctx)
	switch {
	case a != nil && a.only != nil:
		for _, e := range p.all {
			if e.peer == a.only {
				return e.picker.Pick(info)
			}
		}
		return balancer.PickResult{}, balancer.ErrNoSubConnAvailable // until gRPC knows the address
	case len(p.ready) == 0:
		return p.otherwise.Pick(info)
	}
	at := func(i int) *peers.Peer { return p.ready[i].peer }
	i := -1
	if a != nil && a.except != nil {
		i = peers.Choose(p.turn.Add(1), len(p.ready), at, a.except)
	}
	if i < 0 { // or there is no other
		i = peers.Choose(p.turn.Add(1), len(p.ready), at, nil)
	}
	if i < 0 {
		return balancer.PickResult{}, errNoPeer
	}
	result, err := p.ready[i].picker.Pick(info)
	if err != nil || a == nil {
		return result, err
	}
	a.begin(p.ready[i].peer)
	done := result.Done
	result.Done = func(info balancer.DoneInfo) {
		a.done(info.BytesReceived)
		if done != nil {
			done(info)
		}
	}
	return result, nil
}

// errNoPeer is the status of calls while no server can be called. Its details make
// it one for clients, with a time to come back.
var errNoPeer = func() error {
	st, _ := status.New(codes.Unavailable, "no server answers at the moment"). // the detail can be marshaled
											WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	return st.Err()
}()

// An attempt is one try of a call that may be made twice, or a probe, and its context.
type attempt struct {
	context.Context
	only   *peers.Peer // of a probe
	except *peers.Peer // of the second try
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	peer     *peers.Peer // nil until one is chosen
	ended    bool
	received bool // something has come back
}

type attemptKey struct{}

// Value returns the attempt itself, and the values of its context.
func (a *attempt) Value(key any) any {
	if key == (attemptKey{}) {
		return a
	}
	return a.Context.Value(key)
}

func attemptOf(ctx context.Context) *attempt {
	a, _ := ctx.Value(attemptKey{}).(*attempt)
	return a
}

// begin ties the attempt to a peer. gRPC may do so again when it retries by itself.
func (a *attempt) begin(p *peers.Peer) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended {
		return
	}
	if a.peer != nil {
		a.peer.End(a)
	}
	a.peer, a.received = p, false
	p.Begin(a)
}

// Leave implements peers.Call.
func (a *attempt) Leave() { a.cancel(errLeft) }

// done records whether the peer has sent anything.
func (a *attempt) done(received bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.received = received
}

// end unties the attempt.
func (a *attempt) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = true
	if a.peer != nil {
		a.peer.End(a)
	}
}

// unheard reports whether the attempt has reached a peer that has sent nothing.
func (a *attempt) unheard() bool { return a.peer != nil && !a.received }

// A source is the resolver of one connection: it hands on the peers of a set.
type source struct {
	build func(resolver.ClientConn)
}

func (s *source) Scheme() string { return scheme }

// Build implements resolver.Builder.
func (s *source) Build(_ resolver.Target, cc resolver.ClientConn, _ resolver.BuildOptions) (resolver.Resolver, error) {
	s.build(cc)
	return s, nil
}

// ResolveNow does nothing: the set looks names up when a peer fails.
func (s *source) ResolveNow(resolver.ResolveNowOptions) {}

// Close does nothing: the set is closed with the connection.
func (s *source) Close() {}

type peerKey struct{}

// endpointOf returns a peer for gRPC. TLS verifies the name in the target, not the
// address.
func endpointOf(p *peers.Peer, target peers.Target) resolver.Endpoint {
	address := resolver.Address{Addr: p.Address, ServerName: target.String()}
	if p.Network == "unix" {
		address = resolver.Address{Addr: target.String(), ServerName: "localhost"}
	}
	return resolver.Endpoint{Addresses: []resolver.Address{address}, Attributes: attributes.New(peerKey{}, p)}
}

func peerOf(e resolver.Endpoint) *peers.Peer {
	p, _ := e.Attributes.Value(peerKey{}).(*peers.Peer)
	return p
}
