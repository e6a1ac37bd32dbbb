package token

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	softTTL      = 10 * time.Minute // a key set is asked for again after this, or earlier when its max-age says so
	hardTTL      = 24 * time.Hour   // and no longer believed after this
	minRefresh   = time.Minute
	firstRetry   = 2 * time.Second // while there is nothing to work with
	firstBackoff = 5 * time.Second // while there is
	maxBackoff   = 5 * time.Minute // and the most that Retry-After can ask for

	firstWait  = 2 * time.Second        // how long a caller waits for metadata or keys that are not there
	firstPause = 500 * time.Millisecond // between two tries while callers wait
)

// ProviderConfig says which provider to trust. Only Issuer is required.
type ProviderConfig struct {
	// Issuer is the provider's issuer identifier: an https URL, or an http URL of a loopback host. A trailing slash more or
	// less than in the provider's metadata is no mismatch, anything else is.
	Issuer string
	// InternalURL is where the provider is called, if not at Issuer: an origin, which replaces scheme, host and port of every
	// call that this process makes, as inside a cluster. Addresses that browsers are sent to, and Issuer, stay as they are.
	InternalURL string
	// InsecureInternalHTTP lets InternalURL be http off loopback: credentials and tokens are then sent in the clear, and
	// anything on the way can replace the provider's keys.
	InsecureInternalHTTP bool
	// HTTPClient makes the calls. Nil means one of its own. Either way a call ends within 5 s, bodies are capped at 1 MiB,
	// and a redirect from https to http, or to http off loopback, is refused.
	HTTPClient *http.Client
	// Now tells the time; nil means time.Now. Waiting is done on the real clock.
	Now func() time.Time
	// Logger hears of fetches that begin to fail or recover, and of changed keys; nil discards.
	Logger *slog.Logger
}

// Provider is one OpenID provider as seen from outside: its metadata and its signing keys, kept fresh by Run. It is safe
// for concurrent use, and meant to be shared by all verifiers of a process.
type Provider struct {
	issuer   string
	client   *http.Client
	internal *url.URL // nil: the provider is called at its own addresses
	now      func() time.Time
	log      *slog.Logger
	running  atomic.Bool
	metadata atomic.Pointer[Metadata]
	failure  atomic.Pointer[failure] // of the latest fetch; nil after a success
	set      atomic.Pointer[keySet]
	warned   time.Time     // when note last logged a failure; Run's own
	wanted   chan struct{} // tells Run that a caller waits

	mu        sync.Mutex    // guards what follows, and every store to set
	changed   chan struct{} // closed, and replaced, when metadata or keys arrive or a try fails
	started   uint64        // key-set fetches begun
	published uint64        // number of the fetch whose answer set is
	refetch   refetch
	life      context.Context // Run's, which refetches end with; nil when it does not run
	flights   sync.WaitGroup  // added to under mu, while life is set
}

type failure struct {
	err   error
	at    time.Time
	again time.Time // no new try before, on the real clock
}

func (f *failure) Error() string {
	return fmt.Sprintf("%v (last tried at %s)", f.err, f.at.UTC().Format(time.RFC3339))
}

// NewProvider refuses an issuer that is malformed, or http off loopback. It calls nobody: Run or Discover does.
func NewProvider(cfg ProviderConfig) (*Provider, error) {
	if err := checkIssuer(cfg.Issuer); err != nil {
		return nil, err
	}
	p := &Provider{
		issuer: cfg.Issuer,
		now:    cfg.Now,
		log:    cfg.Logger,

		wanted:  make(chan struct{}, 1),
		changed: make(chan struct{}),
	}
	if cfg.InternalURL != "" {
		var err error
		if p.internal, err = parseInternalURL(cfg.InternalURL, cfg.InsecureInternalHTTP); err != nil {
			return nil, fmt.Errorf("token: internal URL: %w", err)
		}
	}
	p.client = newClient(cfg.HTTPClient, p.internal != nil)
	p.client.Transport = p.Transport(p.client.Transport)
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("issuer", cfg.Issuer)
	return p, nil
}

// Run fetches metadata and keys, trying every 2 s until the first success, and sooner while callers wait for it; then it
// keeps the keys fresh until ctx ends. It returns nil then, when no fetch is under way any more. A second Run at the same
// time is an error.
func (p *Provider) Run(ctx context.Context) error {
	if !p.running.CompareAndSwap(false, true) {
		return errors.New("token: Provider.Run is running already")
	}
	defer p.running.Store(false)
	p.mu.Lock()
	p.life = ctx
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.life = nil
		p.mu.Unlock()
		p.flights.Wait()
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for failures := 0; ; {
		select {
		case <-ctx.Done():
			return nil
		case <-p.wanted:
			if p.Ready() != nil {
				var again time.Time
				if f := p.failure.Load(); f != nil {
					again = f.again
				}
				timer.Reset(time.Until(again))
			}
			continue
		case <-timer.C:
		}
		wait, err := p.refresh(ctx)
		if ctx.Err() != nil {
			return nil // what failed then says nothing about the provider
		}
		pause := firstPause
		switch {
		case err == nil:
			failures = 0
		case p.Ready() != nil:
			wait = firstRetry
		default:
			wait = jitter(min(firstBackoff<<min(failures, 10), maxBackoff))
			failures++
		}
		if refused, ok := errors.AsType[*statusError](err); ok {
			wait, pause = max(wait, refused.retryAfter), max(pause, refused.retryAfter)
		}
		p.note(err, time.Now().Add(pause))
		timer.Reset(wait)
	}
}

// refresh brings what is missing or due, and says how long that will do.
func (p *Provider) refresh(ctx context.Context) (time.Duration, error) {
	if p.metadata.Load() == nil {
		if _, err := p.discover(ctx); err != nil {
			return 0, err
		}
	}
	wait, err := p.fetchKeys(ctx, false)
	if err == nil {
		return jitter(wait), nil
	}
	// The keys may have moved: ask where they are now. Its own failure is the same outage and adds nothing.
	before := p.metadata.Load()
	if after, derr := p.discover(ctx); derr == nil && after.JWKSURI != before.JWKSURI {
		wait, err = p.fetchKeys(ctx, false)
		return jitter(wait), err
	}
	return 0, err
}

// jitter shortens d by up to a tenth, so that replicas which started together do not ask together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/10)
}

// Discover fetches the metadata once, now, and publishes it when it is good. The error says in one line what is wrong with
// the answer or the way to it.
func (p *Provider) Discover(ctx context.Context) (*Metadata, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("token: provider %s: %w", p.issuer, err)
	}
	return m, nil
}

func (p *Provider) discover(ctx context.Context) (*Metadata, error) {
	res, err := p.get(ctx, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	m, err := parseMetadata(res.body, p.issuer, p.internal != nil)
	if err != nil {
		return nil, err
	}
	p.metadata.Store(m)
	p.announce()
	return m, nil
}

// Refresh fetches metadata (unless it is there) and keys once, now. It is for those who cannot wait for Run: a check of the
// configuration, and tests. The error says in one line what is wrong.
func (p *Provider) Refresh(ctx context.Context) error {
	if _, err := p.refresh(ctx); err != nil {
		return fmt.Errorf("token: provider %s: %w", p.issuer, err)
	}
	return nil
}

// Metadata returns the snapshot of the last discovery that succeeded. Until there is one the error wraps ErrUnavailable
// and says what went wrong last, and when.
func (p *Provider) Metadata() (*Metadata, error) {
	if m := p.metadata.Load(); m != nil {
		return m, nil
	}
	return nil, p.unavailable("no metadata yet")
}

// AwaitMetadata returns what Metadata does. Where no metadata is there yet, it waits for the fetch that brings it, at most
// 2 s: a request that arrives while a process starts is served late rather than refused.
func (p *Provider) AwaitMetadata(ctx context.Context) (*Metadata, error) {
	if err := p.await(ctx, func() bool { return p.metadata.Load() != nil }); err != nil {
		return nil, err
	}
	return p.Metadata()
}

// Await is AwaitMetadata for callers that need usable keys too.
func (p *Provider) Await(ctx context.Context) (*Metadata, error) {
	if err := p.await(ctx, func() bool { return p.Ready() == nil }); err != nil {
		return nil, err
	}
	return p.Metadata()
}

// await waits until there reports true, for at most firstWait. The fetches are Run's, which is asked to make the next one
// soon. The error wraps ErrUnavailable.
func (p *Provider) await(ctx context.Context, there func() bool) error {
	if there() {
		return nil
	}
	deadline := time.Now().Add(firstWait)
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	for {
		p.mu.Lock()
		changed := p.changed
		p.mu.Unlock()
		if there() {
			return nil
		}
		if f := p.failure.Load(); f != nil && f.again.After(deadline) {
			return p.Ready() // the provider has said that it will not answer in time
		}
		select {
		case p.wanted <- struct{}{}:
		default: // a caller before this one has asked already
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		if there() {
			return nil
		}
		return p.Ready()
	}
}

// announce wakes the callers that wait.
func (p *Provider) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// Ready returns nil when metadata and a usable key set are there, and otherwise one line that says why not. It wraps
// ErrUnavailable.
func (p *Provider) Ready() error {
	switch set := p.set.Load(); {
	case p.metadata.Load() == nil:
		return p.unavailable("no metadata yet")
	case set == nil:
		return p.unavailable("no keys yet")
	case !set.usable(p.now()):
		return p.unavailable("the keys are too old to be believed")
	}
	return nil
}

// KeysConfirmed is when the provider last said that the keys in use are its keys; zero when there are none. The age of the
// key set is counted from there.
func (p *Provider) KeysConfirmed() time.Time {
	if set := p.set.Load(); set != nil {
		return set.confirmed
	}
	return time.Time{}
}

func (p *Provider) unavailable(what string) error {
	if f := p.failure.Load(); f != nil {
		return fmt.Errorf("%w: %s: %s: %w", ErrUnavailable, p.issuer, what, f)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, p.issuer, what)
}

// note keeps the outcome of a periodic fetch for Ready, and logs it, a failure once a minute: an outage of hours at one try
// in 2 s must not fill the log. No new try is made before again.
func (p *Provider) note(err error, again time.Time) {
	before := p.failure.Load()
	switch {
	case err == nil:
		p.failure.Store(nil)
		if before != nil {
			p.log.Info("provider answers again", "after", before.Error())
		}
	default:
		now := p.now()
		p.failure.Store(&failure{err, now, again})
		p.announce()
		if before == nil || now.Sub(p.warned) >= time.Minute {
			p.warned = now
			p.log.Warn("provider does not answer as it should", "error", err)
		}
	}
}
