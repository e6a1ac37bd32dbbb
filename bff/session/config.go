package session

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

// The defaults of ManagerConfig.
const (
	DefaultIdleTimeout     = 24 * time.Hour
	DefaultAbsoluteTimeout = 7 * 24 * time.Hour
	DefaultMaxPerUser      = 100
)

const (
	// Use is recorded once in a twentieth (touchParts) of the idle timeout, and at least every
	// maxTouchInterval. A session may end that much earlier than its last request would allow.
	touchParts       = 20
	maxTouchInterval = 5 * time.Minute

	sweepInterval    = 5 * time.Minute
	defaultCacheSize = 8192
)

// ManagerConfig configures a Manager. Store and Secrets are required; other zero values are safe
// defaults.
type ManagerConfig struct {
	// Store keeps the sessions. The Manager does not close it.
	Store Store
	// Secrets are the secrets that seal, newest first, of at least 32 characters each. All of them
	// open, and the first that all live processes have seals. To rotate, give every process the new
	// secret beside the old one, in any order, and remove the old one after AbsoluteTimeout. A
	// session whose secret was removed everywhere is not found; its record stays until it expires.
	Secrets []string
	// SecretsCompromised says that secrets other than Secrets must no longer be used. The process
	// then starts beside others that have none of its secrets, and its first secret seals even if
	// they lack it. While they live, each answers with [ErrSealedElsewhere] for the other's
	// sessions.
	SecretsCompromised bool
	// Nodes is how many managers share the store, this one included, 0 if unknown. While fewer have
	// announced themselves, no newer secret than that of the stored sessions seals: the missing
	// ones may be of a version that does not announce itself and deletes what it cannot open.
	Nodes int
	// IdleTimeout ends an unused session, AbsoluteTimeout every session. Defaults:
	// DefaultIdleTimeout, but not more than AbsoluteTimeout, and DefaultAbsoluteTimeout. They apply
	// to sessions created or used from now on.
	IdleTimeout, AbsoluteTimeout time.Duration
	// MaxPerUser is how many sessions a user (issuer and subject) may have. A login beyond it ends
	// the least recently used ones, with [ReasonEvicted]; see [Manager.Create]. Default:
	// DefaultMaxPerUser.
	MaxPerUser int
	// Issuer is that of the provider that refreshes tokens; a slash at its end makes no difference.
	// A session of another issuer, from before the provider was changed, is loaded without refresh
	// and ID token, since a provider must not get those of another one, and ends with its access
	// token. Default: not compared.
	Issuer string
	// Evicted, if not nil, is told of each session that a login has ended by MaxPerUser.
	Evicted func(ctx context.Context, r Record)
	// BaseURL is the public origin of the bff. With https, and if it is nil, the cookie is Secure
	// and has the prefix __Host-.
	BaseURL *url.URL
	// CookieName is the cookie's name without the prefix __Host-. Default: [CookieName]. Instances
	// on one host need different names, also on different ports.
	CookieName string
	// CacheSize is how many opened sessions are cached, so that a request need not decrypt one; at
	// about 10 KB each. Default: 8192. A cached session is used only while the store has the same
	// sealed bytes. A core dump of the process shows the cached tokens and cookie values.
	CacheSize int
	// Now is the clock. Default: time.Now.
	Now func() time.Time
	// Rand is the source of cookie values. Default: crypto/rand.Reader.
	Rand io.Reader
	// Logger logs failures of the store, changes of the feed, and sessions that cannot be opened.
	// Default: none.
	Logger *slog.Logger
}

// Manager opens, changes and ends sessions. It is safe for concurrent use.
type Manager struct {
	store Store
	index Index
	notes NoteStore
	keys  *seal.Keyring
	jar
	idle     time.Duration
	absolute time.Duration
	perUser  int
	issuer   string // without a slash at the end
	evicted  func(context.Context, Record)
	clock    func() time.Time
	random   io.Reader
	log      *slog.Logger

	opened *cache.Cache[opened]
	// touching has the IDs of the sessions that are being touched.
	touching sync.Map
	hub      *hub
	nodes    *nodes

	unopened *throttle.Log
	reads    *outage.Monitor
	writes   *outage.Monitor
}

// settle is how long the store must not have failed until its outage ends in the log.
const settle = 2 * time.Second

// Validate returns everything that is wrong with the values of cfg, joined. It contacts nothing.
// [NewManager] calls it.
func (cfg ManagerConfig) Validate() error {
	var errs []error
	bad := func(field string, value any, problem, remedy string) {
		errs = append(errs, invalid.Field(field, value, problem, remedy))
	}
	if cfg.Store == nil {
		errs = append(errs, invalid.Missing("Store", "give a session store"))
	} else if _, ok := cfg.Store.(NoteStore); !ok && !isLocal(cfg.Store) {
		errs = append(errs, &invalid.Error{Field: "Store",
			Problem: fmt.Sprintf("is a %T, which keeps no notes", cfg.Store),
			Remedy:  "have it implement session.NoteStore, or session.Local and embed session.LocalNotes if it belongs to one process"})
	}
	errs = append(errs, seal.Validate(cfg.Secrets),
		invalid.NotNegative("CacheSize", cfg.CacheSize, "a number of sessions", defaultCacheSize),
		invalid.NotNegative("MaxPerUser", cfg.MaxPerUser, "a number of sessions", DefaultMaxPerUser))
	if cfg.Nodes < 0 {
		bad("Nodes", cfg.Nodes, "is negative",
			"give the number of processes that share the session store")
	}
	for _, timeout := range []struct {
		field string
		value time.Duration
	}{{"IdleTimeout", cfg.IdleTimeout}, {"AbsoluteTimeout", cfg.AbsoluteTimeout}} {
		if timeout.value != 0 && timeout.value < time.Second {
			bad(timeout.field, timeout.value, "is shorter than a second",
				"give a duration such as 90s or 24h")
		}
	}
	if absolute := cmp.Or(cfg.AbsoluteTimeout, DefaultAbsoluteTimeout); cfg.IdleTimeout > absolute {
		problem := fmt.Sprintf("is longer than AbsoluteTimeout, %v, and would never be reached", absolute)
		bad("IdleTimeout", cfg.IdleTimeout, problem, "give a shorter one")
	}
	if cfg.BaseURL != nil && cfg.BaseURL.Scheme != "https" && cfg.BaseURL.Scheme != "http" {
		bad("BaseURL", cfg.BaseURL, fmt.Sprintf("has the scheme %q", cfg.BaseURL.Scheme),
			"give an https URL, or an http one on loopback")
	}
	if cfg.CookieName != "" {
		if err := CheckCookieName(cfg.CookieName); err != nil {
			bad("CookieName", cfg.CookieName, "is not usable: "+err.Error(),
				"give letters, digits and hyphens, such as "+CookieName)
		}
	}
	return errors.Join(errs...)
}

// NewManager returns a Manager. Its errors are those of [ManagerConfig.Validate].
func NewManager(cfg ManagerConfig) (*Manager, error) {
	if err := cfg.Validate(); err != nil {
		return nil, invalid.In("session", err)
	}
	keys, err := seal.NewKeyring(cfg.Secrets...)
	if err != nil {
		return nil, err
	}
	notes, ok := cfg.Store.(NoteStore)
	if !ok {
		notes = &LocalNotes{Now: cfg.Now}
	}
	m := &Manager{
		store:    cfg.Store,
		index:    IndexOf(cfg.Store),
		notes:    notes,
		keys:     keys,
		jar:      jar{name: cmp.Or(cfg.CookieName, CookieName)},
		absolute: cmp.Or(cfg.AbsoluteTimeout, DefaultAbsoluteTimeout),
		perUser:  cmp.Or(cfg.MaxPerUser, DefaultMaxPerUser),
		issuer:   strings.TrimSuffix(cfg.Issuer, "/"),
		evicted:  cfg.Evicted,
		clock:    cfg.Now,
		random:   cfg.Rand,
		log:      cfg.Logger,
		opened:   cache.New[opened](cmp.Or(cfg.CacheSize, defaultCacheSize)),
		unopened: throttle.Every(10 * time.Second),
	}
	m.idle = min(cmp.Or(cfg.IdleTimeout, DefaultIdleTimeout), m.absolute)
	if cfg.BaseURL == nil || cfg.BaseURL.Scheme == "https" {
		m.jar = jar{secure: true, name: hostPrefix + m.jar.name}
	}
	if m.clock == nil {
		m.clock = time.Now
	}
	if m.random == nil {
		m.random = rand.Reader
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.hub = newHub(m.store, m.now, func(id ID) { m.opened.Drop(id) }, m.log)
	m.reads = outage.New(outage.Config{Name: "session store", Logger: m.log, Now: m.clock, Settle: settle})
	m.writes = outage.New(outage.Config{Name: "session store for writes", Logger: m.log, Now: m.clock, Settle: settle})
	m.nodes = newNodes(cfg, notes, keys, rand.Text(), m.now, m.log, m.reads, m.writes)
	return m, nil
}

// SetSecrets replaces ManagerConfig.Secrets. The secret that seals still does until all live
// processes have a newer one. It returns a [NoSharedSecretError], and changes nothing, if no other
// live process has one of the secrets.
func (m *Manager) SetSecrets(ctx context.Context, secrets []string) error {
	keys, err := seal.NewKeyring(secrets...)
	if err != nil {
		return invalid.In("session", err)
	}
	if err := m.nodes.replace(ctx, keys); err != nil {
		return err
	}
	m.opened.Clear() // a secret that was removed opens nothing any more
	return nil
}

// now returns the time in UTC and whole milliseconds, as in records.
func (m *Manager) now() time.Time { return m.clock().UTC().Truncate(time.Millisecond) }
