package session

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session/internal/cache"
	"github.com/gatehouse-dev/gatehouse/internal/seal"
	"github.com/gatehouse-dev/gatehouse/internal/throttle"
)

// The lifetimes that a zero ManagerConfig means.
const (
	DefaultIdleTimeout     = 24 * time.Hour
	DefaultAbsoluteTimeout = 7 * 24 * time.Hour
)

const (
	// touchParts and maxTouchInterval say how often use is written down: once in a twentieth of the idle timeout, and at
	// least every 5 minutes of use. A session may so end that much earlier than its last request would allow.
	touchParts       = 20
	maxTouchInterval = 5 * time.Minute

	defaultSweepInterval = 5 * time.Minute
	defaultCacheSize     = 8192
)

// ManagerConfig configures a Manager. Store and Secrets are required; every other zero value is a safe default.
type ManagerConfig struct {
	// Store keeps the sessions. The Manager does not close it.
	Store Store
	// Secrets seal what is stored, newest first: all of them open, and the first that all live nodes have seals. To rotate,
	// give every node the new secret beside the old one, in either order, and remove the old one when AbsoluteTimeout has
	// passed. A session whose secret no node has any more is not found; its record stays until it expires.
	Secrets []string
	// SecretsCompromised says that secrets which are not given here must not be used any more. This node then starts beside
	// nodes that have none of its secrets, and its first secret seals even if the others lack it. While they live, each
	// answers with [ErrSealedElsewhere] for the other's sessions.
	SecretsCompromised bool
	// Nodes is how many managers share the store, this one included, 0 if that is not known. While fewer than that have
	// announced themselves, a newer secret than that of the stored sessions does not seal: those that are missing may be of
	// a version that does not announce itself and deletes what it cannot open.
	Nodes int
	// IdleTimeout is how long a session lasts unused, 24 h if zero; AbsoluteTimeout how long it lasts at all, 7 days if
	// zero. They hold for sessions created, or used, from now on.
	IdleTimeout, AbsoluteTimeout time.Duration
	// BaseURL is the public origin of the bff. With https, and with nil, the cookie is Secure and has the __Host- prefix.
	BaseURL *url.URL
	// CookieName is the cookie's name without the prefix __Host-, [CookieName] if empty. Instances on one host need different
	// ones, also on different ports.
	CookieName string
	// CacheSize is how many opened sessions the process remembers, so as not to decrypt one at every request: 8192 if zero,
	// at some 10 KB each. What is remembered is used only while the store still has the very same sealed bytes. What the
	// memory holds, tokens included, a core dump shows.
	CacheSize int
	// SweepInterval is how often Run removes expired sessions, 5 minutes if zero.
	SweepInterval time.Duration
	// Now tells the time; nil means time.Now.
	Now func() time.Time
	// Rand gives the cookie values; nil means crypto/rand.Reader.
	Rand io.Reader
	// Logger gets what ends sessions unasked; nil discards it.
	Logger *slog.Logger
}

// Manager opens, changes and ends sessions. It is safe for concurrent use.
type Manager struct {
	store    Store
	index    Index
	notes    NoteStore
	keys     *seal.Keyring
	jar      jar
	idle     time.Duration
	absolute time.Duration
	sweep    time.Duration
	clock    func() time.Time
	random   io.Reader
	log      *slog.Logger

	opened   *cache.Cache[opened]
	touching inFlight
	hub      *hub
	nodes    *nodes

	unopened *throttle.Log
}

// NewManager checks the configuration and makes a Manager.
func NewManager(c ManagerConfig) (*Manager, error) {
	if c.Store == nil {
		return nil, errors.New("session: ManagerConfig.Store is nil")
	}
	notes, ok := c.Store.(NoteStore)
	switch {
	case ok:
	case isLocal(c.Store):
		notes = &LocalNotes{Now: c.Now}
	default:
		return nil, fmt.Errorf("session: ManagerConfig.Store %T is not a NoteStore, which the processes of a shared store need", c.Store)
	}
	keys, err := seal.NewKeyring(c.Secrets...)
	if err != nil {
		return nil, err
	}
	m := &Manager{
		store:    c.Store,
		index:    IndexOf(c.Store),
		notes:    notes,
		keys:     keys,
		jar:      jar{secure: true, base: cmp.Or(c.CookieName, CookieName)},
		idle:     c.IdleTimeout,
		absolute: c.AbsoluteTimeout,
		sweep:    c.SweepInterval,
		clock:    c.Now,
		random:   c.Rand,
		log:      c.Logger,
		touching: inFlight{ids: make(map[ID]struct{})},
		hub:      newHub(),
		unopened: throttle.Every(10 * time.Second),
	}
	if m.idle == 0 {
		m.idle = DefaultIdleTimeout
	}
	if m.absolute == 0 {
		m.absolute = DefaultAbsoluteTimeout
	}
	switch {
	case m.idle < time.Second:
		return nil, fmt.Errorf("session: the idle timeout is %v, at least 1s is needed", m.idle)
	case m.absolute < time.Second:
		return nil, fmt.Errorf("session: the absolute timeout is %v, at least 1s is needed", m.absolute)
	case c.Nodes < 0:
		return nil, fmt.Errorf("session: Nodes is %d, it cannot be negative", c.Nodes)
	case c.IdleTimeout > 0 && m.idle > m.absolute:
		return nil, fmt.Errorf("session: the idle timeout %v is longer than the absolute timeout %v and would never be reached: make it shorter", m.idle, m.absolute)
	}
	m.idle = min(m.idle, m.absolute)
	if m.sweep == 0 {
		m.sweep = defaultSweepInterval
	}
	if m.sweep < 0 {
		return nil, fmt.Errorf("session: the sweep interval is %v, it cannot be negative", m.sweep)
	}
	if err := CheckCookieName(m.jar.base); err != nil {
		return nil, fmt.Errorf("session: cookie name %q: %w", c.CookieName, err)
	}
	if c.BaseURL != nil {
		switch c.BaseURL.Scheme {
		case "https":
		case "http":
			m.jar.secure = false
		default:
			return nil, fmt.Errorf("session: the base URL has the scheme %q: it must be https, or http on loopback", c.BaseURL.Scheme)
		}
	}
	if c.CacheSize < 0 {
		return nil, fmt.Errorf("session: the cache size is %d, it cannot be negative", c.CacheSize)
	}
	size := c.CacheSize
	if size == 0 {
		size = defaultCacheSize
	}
	m.opened = cache.New[opened](size)
	if m.clock == nil {
		m.clock = time.Now
	}
	if m.random == nil {
		m.random = rand.Reader
	}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	m.nodes = newNodes(c, notes, keys, rand.Text(), m.now, m.log)
	return m, nil
}

// now is the time as records keep it.
func (m *Manager) now() time.Time { return m.clock().UTC().Truncate(time.Millisecond) }

// touchInterval is how old LastSeenAt must be before it is written anew.
func (m *Manager) touchInterval() time.Duration {
	return min(m.idle/touchParts, maxTouchInterval)
}
