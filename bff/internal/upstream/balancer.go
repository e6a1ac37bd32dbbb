package upstream

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// maxProbe bounds what is read of the answer to a probe, in bytes.
const maxProbe = 256

// ErrNone is returned while no server can be called.
var ErrNone = errors.New("no server answers at the moment")

// errLeft is the cause of attempts that end because their peer is silent.
var errLeft = errors.New("the server has stopped answering")

// Config configures a [Balancer]. Name and Targets are required.
type Config struct {
	Name                        string     // what the servers are, for the log
	Label                       string     // as in peers.Config
	Targets                     []*url.URL // http, https, or unix with the path of a socket
	Probe                       string     // path; "" for a connection without a request
	TLS                         *tls.Config
	Timeout                     time.Duration // from a request to the header of its answer; 0 for HeaderTimeout
	ProbeInterval, ProbeTimeout time.Duration
	ResolveInterval             time.Duration
	Lookup                      func(context.Context, peers.Target) ([]string, error)
	Logger                      *slog.Logger
	MeterProvider               metric.MeterProvider
}

// A Balancer is an http.RoundTripper over all addresses of some servers. A request
// goes to one whose probe succeeds. GET and HEAD are sent a second time when the
// server is found to be silent, or the connection breaks before an answer; other
// requests only if nothing of them was sent. It is safe for concurrent use.
type Balancer struct {
	cfg   Config
	peers *peers.Set
}

// New returns a Balancer, which begins to probe.
func New(cfg Config) *Balancer {
	b := &Balancer{cfg: cfg}
	b.cfg.Targets = slices.Clone(cfg.Targets)
	var targets []peers.Target
	for i, u := range cfg.Targets {
		if u.Scheme == "unix" {
			targets = append(targets, peers.Target{Path: u.Path})
			b.cfg.Targets[i] = &url.URL{Scheme: "http", Host: "localhost"} // for the Host header
			continue
		}
		port := u.Port()
		if port == "" {
			port = map[string]string{"https": "443"}[u.Scheme]
		}
		targets = append(targets, peers.Target{Host: u.Hostname(), Port: cmp.Or(port, "80")})
	}
	b.peers = peers.NewSet(peers.Config{
		Name: cfg.Name, Label: cfg.Label, Targets: targets, Probe: b.probe, Client: b.newTransport, Changed: b.forget,
		Interval: cfg.ProbeInterval, Timeout: cfg.ProbeTimeout, Resolve: cfg.ResolveInterval,
		Lookup: cfg.Lookup, Logger: cfg.Logger, MeterProvider: cfg.MeterProvider,
	})
	b.peers.Start()
	return b
}

// Close ends the probes and closes idle connections.
func (b *Balancer) Close() {
	b.peers.Close()
	b.forget(b.peers.Peers())
}

// Ready returns why no server is ready, nil if one is. The error names addresses.
func (b *Balancer) Ready() error {
	if err := b.peers.Ready(); err != nil {
		return fmt.Errorf("no %s is ready: %s", b.cfg.Name, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	return nil
}

// Counts returns how many addresses there are in each state, by its name in metrics.
func (b *Balancer) Counts() map[string]int { return b.peers.Counts() }

// forget closes the idle connections of peers that are no longer called. Those of requests
// that end later close after IdleConnTimeout.
func (b *Balancer) forget(removed []*peers.Peer) {
	for _, p := range removed {
		b.transport(p).CloseIdleConnections()
	}
}

// newTransport returns the connections to a peer. TLS verifies the name in the target.
func (b *Balancer) newTransport(p *peers.Peer) any {
	t := NewTransport(b.cfg.TLS, cmp.Or(b.cfg.Timeout, HeaderTimeout))
	t.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return dial(ctx, p.Network, p.Address) }
	return t
}

func (b *Balancer) transport(p *peers.Peer) *http.Transport { return p.Client.(*http.Transport) }

// probe asks a server whether it is ready. Any answer but a server error will do: what
// stands in front of a gateway may not know the path.
func (b *Balancer) probe(ctx context.Context, p *peers.Peer) error {
	if b.cfg.Probe == "" {
		conn, err := dial(ctx, p.Network, p.Address)
		if err != nil {
			b.transport(p).CloseIdleConnections()
			return err
		}
		return conn.Close()
	}
	target := b.cfg.Targets[p.Target]
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.JoinPath(b.cfg.Probe).String(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := b.transport(p).RoundTrip(req)
	if err != nil {
		b.transport(p).CloseIdleConnections() // they may be dead
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxProbe))
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		return fmt.Errorf("%w: %s to %s: %q", peers.ErrUnready, resp.Status, b.cfg.Probe, bytes.TrimSpace(text))
	}
	return nil
}

// RoundTrip sends a request to one of the servers. Its URL is that of the bff, without
// scheme and host. It leaves closing the request's body to ReverseProxy.
func (b *Balancer) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := b.peers.Wait(req.Context()); err != nil {
		return nil, err
	}
	p := b.peers.Pick(nil)
	if p == nil {
		return nil, ErrNone
	}
	resp, unsent, err := b.try(req, p)
	if err == nil || req.Context().Err() != nil || !unsent && !Replayable(req) {
		return resp, err
	}
	other := b.peers.Pick(p)
	if other == nil {
		return nil, err
	}
	resp, _, err = b.try(req, other)
	return resp, err
}

// try sends a request to a peer. If that fails, unsent reports that the peer has got
// nothing of it, and that its body has not been read.
func (b *Balancer) try(req *http.Request, p *peers.Peer) (_ *http.Response, unsent bool, err error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	a := &attempt{peer: p, cancel: cancel}
	safe := Replayable(req)
	if safe { // an upload may still succeed
		p.Begin(a)
	} else {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{WroteHeaders: func() { a.wrote.Store(true) }})
	}
	out := req.WithContext(ctx)
	Aim(out, b.cfg.Targets[p.Target])
	var body *heldBody
	if req.Body != nil && req.Body != http.NoBody {
		body = &heldBody{body: req.Body}
		out.Body = body
	}
	resp, err := b.transport(p).RoundTrip(out)
	if err != nil {
		if context.Cause(ctx) == errLeft {
			err = errLeft
		}
		p.End(a)
		cancel(nil)
		return nil, body.unread() && !safe && !a.wrote.Load(), fmt.Errorf("%s: %w", p.Address, err)
	}
	if resp.StatusCode == http.StatusSwitchingProtocols { // the body is the connection
		p.End(a)
		conn := &tunnel{resp.Body} // ReverseProxy takes it away
		p.Begin(conn)
		context.AfterFunc(ctx, func() { p.End(conn) })
		return resp, false, nil
	}
	a.ReadCloser = resp.Body
	resp.Body = a
	return resp, false, nil
}

// A heldBody is the body of a request that can be sent again while nothing was read.
// Closing it leaves the body open.
type heldBody struct {
	body io.Reader

	mu          sync.Mutex
	read, taken bool
}

func (b *heldBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	b.read = true
	taken := b.taken
	b.mu.Unlock()
	if taken {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.body.Read(p)
}

func (b *heldBody) Close() error { return nil }

// unread reports whether nothing was read, and then nothing more will be.
func (b *heldBody) unread() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.read {
		b.taken = true
	}
	return !b.read
}

// An attempt is one try of a request, and the body of its answer, which ties it to its peer.
type attempt struct {
	io.ReadCloser
	peer   *peers.Peer
	cancel context.CancelCauseFunc
	wrote  atomic.Bool // the header was sent; known only if the request is not replayable
}

// Leave implements peers.Call.
func (a *attempt) Leave() { a.cancel(errLeft) }

// Close releases the request, too.
func (a *attempt) Close() error {
	a.peer.End(a)
	a.cancel(nil)
	return a.ReadCloser.Close()
}

// A tunnel is the connection of a WebSocket to its peer.
type tunnel struct{ io.Closer }

// Leave implements peers.Call. It ends the copying.
func (t *tunnel) Leave() { _ = t.Close() }
