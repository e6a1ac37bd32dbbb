package oidc

import (
	"context"
	"crypto/tls"
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

	"github.com/gatehouse-dev/gatehouse/internal/auditlog"
	"github.com/gatehouse-dev/gatehouse/internal/broadcast"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
	"github.com/gatehouse-dev/gatehouse/internal/tracing"
)

const (
	softTTL      = 10 * time.Minute // a key set is fetched again after this, or earlier by its max-age
	hardTTL      = 24 * time.Hour   // a key set is not used after this
	minRefresh   = time.Minute
	firstRetry   = 2 * time.Second // after a failed fetch, while metadata or keys are missing
	firstBackoff = 5 * time.Second // after a failed fetch, while there are usable keys
	maxBackoff   = 5 * time.Minute

	firstWait  = 2 * time.Second        // for which a caller waits for the first metadata or keys
	firstPause = 500 * time.Millisecond // between two fetches while callers wait
)

// A Provider is an OpenID provider as its clients see it: metadata and signing
// keys. All parts of a process should share one. It is safe for concurrent use.
type Provider struct {
	issuer   string
	client   *http.Client
	internal *url.URL // nil if the provider is reached at its own addresses
	tracer   *tracing.Tracer

	ownKeys    bool            // the keys are not those of the metadata, of which there is none
	jwksFile   string          // "" if the keys are fetched
	files      *tlsfiles.Files // nil without Config.CAFile
	bearerFile string
	hosts      []string // that get the bearer token, unless internal

	now      func() time.Time
	log      *slog.Logger
	metadata atomic.Pointer[Metadata]
	failure  atomic.Pointer[failure] // of the last fetch; nil after a success
	skew     atomic.Pointer[time.Duration]
	set      atomic.Pointer[keySet]
	refused  atomic.Pointer[[]string] // the algorithms of the last set refused for them

	fetches     *metrics.Counter // of documents
	unknownKids *metrics.Counter
	audit       *auditlog.Recorder

	turn     chan struct{} // held by the Run that does the work, which owns the next two
	failures int           // in a row
	outage   *outage.Monitor
	wanted   chan struct{} // tells Run that a caller waits

	changed   broadcast.Signal // metadata or keys have arrived, or a fetch has failed
	mu        sync.Mutex       // guards the following, and every store to set
	started   uint64           // key-set fetches begun
	published uint64           // number of the fetch whose response set is
	refetch   refetch
	allowed   []string        // algorithms of which there must be a key; none for any
	due       time.Time       // of the next periodic fetch, on the real clock
	life      context.Context // of the Run that does the work, which refetches end with; nil if there is none
	flights   sync.WaitGroup  // added to under mu, while life is set
}

// A failure is the outcome of a fetch that failed.
type failure struct {
	err   error
	at    time.Time
	again time.Time // of the earliest next fetch, on the real clock
}

func (f *failure) Error() string {
	return fmt.Sprintf("%v (last tried at %s)", f.err, f.at.UTC().Format(time.RFC3339))
}

// NewProvider returns a Provider. It fails if the configuration is invalid, with
// the errors of [Config.Validate]. It contacts nothing; Run, Refresh and
// Discover do.
func NewProvider(cfg Config) (*Provider, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("oidc", err)
	}
	p := &Provider{
		issuer: cfg.Issuer,
		now:    cfg.Now,
		log:    cfg.Logger,
		tracer: tracing.New(tracing.Config{Provider: cfg.TracerProvider, Part: "oidc"}),
		turn:   make(chan struct{}, 1),
		wanted: make(chan struct{}, 1),

		ownKeys: cfg.ownKeys(), jwksFile: cfg.JWKSFile, bearerFile: cfg.BearerTokenFile,

		fetches:     metrics.NewCounter(cfg.MeterProvider, metrics.ProviderFetches.With(metrics.KeyIssuer, cfg.Issuer)),
		unknownKids: metrics.NewCounter(cfg.MeterProvider, metrics.UnknownKids.With(metrics.KeyIssuer, cfg.Issuer)),
	}
	if p.ownKeys {
		p.metadata.Store(&Metadata{Issuer: cfg.Issuer, JWKSURI: cfg.JWKSURL})
	}
	if cfg.InternalURL != "" {
		u, err := url.Parse(cfg.InternalURL)
		if err != nil {
			return nil, err
		}
		p.internal = &url.URL{Scheme: u.Scheme, Host: u.Host}
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.log = p.log.With("issuer", cfg.Issuer)
	trust, err := p.trust(cfg)
	if err != nil {
		return nil, err
	}
	p.client = p.newClient(cfg.HTTPClient, trust)
	p.client.Transport = p.Transport(p.client.Transport)
	available := metrics.ProviderAvailable.With(metrics.KeyIssuer, cfg.Issuer)
	metrics.ObserveGauges(cfg.MeterProvider, available, func(_ context.Context, observe func(float64, ...string)) {
		available, _ := metrics.Bool(p.metadata.Load() != nil && p.failure.Load() == nil)
		observe(available, cfg.Issuer)
	})
	age := metrics.KeySetAge.With(metrics.KeyIssuer, cfg.Issuer)
	metrics.ObserveGauges(cfg.MeterProvider, age, func(_ context.Context, observe func(float64, ...string)) {
		if confirmed := p.KeysConfirmed(); !confirmed.IsZero() {
			observe(p.now().Sub(confirmed).Seconds(), cfg.Issuer)
		}
	})
	p.outage = outage.New(outage.Config{Name: "provider", Logger: p.log, Now: p.now})
	p.audit = auditlog.New(auditlog.Config{
		Handler: cfg.Audit, Part: "provider", Now: p.now, Logger: p.log, MeterProvider: cfg.MeterProvider,
	})
	return p, nil
}

// trust returns the TLS configuration for Config.CAFile, nil without one, and sets the
// hosts that get the bearer token.
func (p *Provider) trust(cfg Config) (*tls.Config, error) {
	var names []string
	for _, address := range []string{cfg.Issuer, cfg.InternalURL, cfg.JWKSURL} {
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			p.hosts, names = append(p.hosts, u.Host), append(names, u.Hostname())
		}
	}
	if cfg.JWKSURL != "" {
		p.hosts = p.hosts[len(p.hosts)-1:] // nothing is requested of the issuer
	}
	if cfg.CAFile == "" {
		return nil, nil
	}
	p.files = tlsfiles.New(tlsfiles.Config{Now: p.now, Logger: p.log})
	authorities, err := p.files.Authorities("CAFile", cfg.CAFile)
	if err != nil {
		return nil, invalid.In("oidc", invalid.Field("CAFile", cfg.CAFile, "cannot be used: "+err.Error(), ""))
	}
	return tlsfiles.Client(tlsfiles.ClientConfig{Authorities: authorities, Hosts: names}), nil
}

// Run keeps metadata and keys fresh until ctx ends, and then returns nil, when
// no fetch that it began is in flight. Until the first success it fetches every
// 2 seconds, and sooner while callers wait. Every part that uses the provider
// calls Run: one of the calls does the work, and when its ctx ends another takes
// over.
func (p *Provider) Run(ctx context.Context) error {
	select {
	case p.turn <- struct{}{}:
		defer func() { <-p.turn }()
	case <-ctx.Done():
		return nil
	}
	p.mu.Lock()
	p.life = ctx
	due := p.due
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		p.life = nil
		p.mu.Unlock()
		p.flights.Wait()
	}()
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	for {
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
			return nil // the fetch was cancelled
		}
		pause := firstPause
		switch {
		case err == nil:
			p.failures = 0
		case p.Ready() != nil:
			wait = firstRetry
		case p.jwksFile != "":
			wait = tlsfiles.Interval
		default:
			wait = jitter(min(firstBackoff<<min(p.failures, 10), maxBackoff))
			p.failures++
		}
		if refused, ok := errors.AsType[*statusError](err); ok {
			wait, pause = max(wait, refused.retryAfter), max(pause, refused.retryAfter)
		}
		p.note(ctx, err, time.Now().Add(pause))
		p.schedule(wait)
		timer.Reset(wait)
	}
}

// refresh fetches the metadata, if there is none, and the keys. It returns when
// to fetch again.
func (p *Provider) refresh(ctx context.Context) (time.Duration, error) {
	if p.metadata.Load() == nil {
		if _, err := p.discover(ctx); err != nil {
			return 0, err
		}
	}
	wait, err := p.fetchKeys(ctx, false)
	if err == nil || p.ownKeys {
		return jitter(wait), err
	}
	// The key set may have moved. A failure of discovery is the same outage, so
	// it is not reported.
	before := p.metadata.Load()
	if after, derr := p.discover(ctx); derr == nil && after.JWKSURI != before.JWKSURI {
		wait, err = p.fetchKeys(ctx, false)
		return jitter(wait), err
	}
	return 0, err
}

// schedule sets the time of the next periodic fetch, for a Run that begins
// later.
func (p *Provider) schedule(wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.due = time.Now().Add(wait)
}

// jitter shortens d by up to a tenth, so that replicas that started together do
// not fetch together.
func jitter(d time.Duration) time.Duration {
	return d - time.Duration(rand.Float64()*float64(d)/10)
}

// HasMetadata reports whether the provider has metadata, or will have. A provider with a
// Config.JWKSURL or Config.JWKSFile has none but its issuer, so that users cannot sign
// in there.
func (p *Provider) HasMetadata() bool { return !p.ownKeys }

// Discover fetches the metadata once, without Run. Valid metadata is published.
// The error says in one line what is wrong with the response or the connection;
// it may wrap an [*IssuerMismatchError].
func (p *Provider) Discover(ctx context.Context) (*Metadata, error) {
	m, err := p.discover(ctx)
	if err != nil {
		return nil, fmt.Errorf("oidc: provider %s: %w", p.issuer, err)
	}
	return m, nil
}

func (p *Provider) discover(ctx context.Context) (_ *Metadata, err error) {
	if p.ownKeys {
		return p.metadata.Load(), nil
	}
	defer func() { p.fetched(ctx, metrics.DocumentMetadata, metrics.FetchOK, err) }()
	res, err := p.get(ctx, strings.TrimSuffix(p.issuer, "/")+"/.well-known/openid-configuration", nil)
	if err != nil {
		return nil, fmt.Errorf("metadata: %w", err)
	}
	m, err := parseMetadata(res.body, p.issuer, p.internal != nil)
	if err != nil {
		return nil, err
	}
	p.metadata.Store(m)
	p.changed.Send()
	return m, nil
}

// Refresh fetches the metadata, if there is none, and the keys once, without
// Run. It is for checks of a configuration and for tests. The error says in one
// line what is wrong.
func (p *Provider) Refresh(ctx context.Context) error {
	wait, err := p.refresh(ctx)
	if err != nil {
		return fmt.Errorf("oidc: provider %s: %w", p.issuer, err)
	}
	p.schedule(wait)
	return nil
}

// Metadata returns the result of the last successful discovery. Before there is
// one, the error wraps [ErrUnavailable] and says what the last failure was, and
// when.
func (p *Provider) Metadata() (*Metadata, error) {
	if m := p.metadata.Load(); m != nil {
		return m, nil
	}
	return nil, p.unavailable("no metadata yet")
}

// AwaitMetadata is Metadata that waits for the first discovery, at most 2
// seconds, so that a request that arrives while a process starts is delayed and
// not refused.
func (p *Provider) AwaitMetadata(ctx context.Context) (*Metadata, error) {
	if err := p.await(ctx, func() bool { return p.metadata.Load() != nil }); err != nil {
		return nil, err
	}
	return p.Metadata()
}

// AwaitReady is AwaitMetadata that waits for usable keys too.
func (p *Provider) AwaitReady(ctx context.Context) (*Metadata, error) {
	if err := p.await(ctx, func() bool { return p.Ready() == nil }); err != nil {
		return nil, err
	}
	return p.Metadata()
}

// await waits until ready returns true, at most firstWait, and asks Run to fetch
// soon. The error wraps ErrUnavailable.
func (p *Provider) await(ctx context.Context, ready func() bool) error {
	if ready() {
		return nil
	}
	deadline := time.Now().Add(firstWait)
	timer := time.NewTimer(firstWait)
	defer timer.Stop()
	for {
		changed := p.changed.Wait()
		if ready() {
			return nil
		}
		if f := p.failure.Load(); f != nil && f.again.After(deadline) {
			return p.Ready() // Retry-After: the provider will not respond in time
		}
		select {
		case p.wanted <- struct{}{}:
		default: // another caller has asked
		}
		select {
		case <-changed:
			continue
		case <-timer.C:
		case <-ctx.Done():
		}
		if ready() {
			return nil
		}
		return p.Ready()
	}
}

// Issuer returns the issuer as configured. The provider's own spelling, which
// tokens carry, is Metadata.Issuer.
func (p *Provider) Issuer() string { return p.issuer }

// Ready returns nil if there are metadata and usable keys, and otherwise an
// error of one line that wraps [ErrUnavailable].
func (p *Provider) Ready() error {
	switch set := p.set.Load(); {
	case p.metadata.Load() == nil:
		return p.unavailable("no metadata yet")
	case set == nil:
		return p.unavailable("no keys yet")
	case !set.usable(p.now()):
		return p.unavailable("the key set is too old")
	}
	return nil
}

// ClockSkew returns how far the provider's clock is ahead of this machine's, by the Date
// header of the last response; negative if it is behind, and zero if it may be the same.
// known is false if no response had one that was not from a cache.
func (p *Provider) ClockSkew() (ahead time.Duration, known bool) {
	if skew := p.skew.Load(); skew != nil {
		return *skew, true
	}
	return 0, false
}

// KeysConfirmed returns when the provider last confirmed the key set in use;
// zero if there is none. A key set is used until 24 hours after that.
func (p *Provider) KeysConfirmed() time.Time {
	if set := p.set.Load(); set != nil {
		return set.confirmed
	}
	return time.Time{}
}

// KeysUsable reports whether there is a key set that may still be used at now.
func (p *Provider) KeysUsable(now time.Time) bool { return p.set.Load().usable(now) }

func (p *Provider) unavailable(what string) error {
	if f := p.failure.Load(); f != nil {
		return fmt.Errorf("%w: %s: %s: %w", ErrUnavailable, p.issuer, what, f)
	}
	return fmt.Errorf("%w: %s: %s", ErrUnavailable, p.issuer, what)
}

// note stores the outcome of a periodic fetch for Ready, and logs the start and the end of
// an outage. The next fetch is not before again.
func (p *Provider) note(ctx context.Context, err error, again time.Time) {
	p.outage.Note(ctx, err)
	if err == nil {
		p.failure.Store(nil)
		return
	}
	p.failure.Store(&failure{err, p.now(), again})
	p.changed.Send()
}
