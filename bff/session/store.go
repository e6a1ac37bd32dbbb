package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"
)

// ID is the key of a session in a store: the SHA-256 of the cookie value. It cannot be turned back into a cookie.
type ID [sha256.Size]byte

// String returns a handle of 16 hexadecimal digits: short, fit for logs and for pages, and enough to tell one person's
// sessions apart. It is not enough to ask a store with.
func (id ID) String() string { return hex.EncodeToString(id[:8]) }

// MarshalText is String, so that JSON and structured logs show the handle and not the key.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// IsZero tells whether the ID is unset. No session has the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// Cursor is a cursor for [Store.List] in a store that lists by ID: it goes on behind this one.
func Cursor(last ID) string { return base64.RawURLEncoding.EncodeToString(last[:]) }

// ParseCursor returns the ID of a [Cursor], zero for "", or [ErrCursor].
func ParseCursor(cursor string) (id ID, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || cursor != "" && len(raw) != len(id) {
		return ID{}, ErrCursor
	}
	copy(id[:], raw)
	return id, nil
}

// Fence numbers the grants of one session's lock. Each grant has a higher number than all before it; zero is never granted.
type Fence int64

// Record is a session as a store keeps it. Times are UTC and exact to the millisecond.
type Record struct {
	ID ID
	// Issuer and Subject say whose session it is; SID is the provider's name for it, "" if it gave none.
	Issuer, Subject, SID string
	CreatedAt            time.Time
	LastSeenAt           time.Time
	// IdleExpiresAt moves with use, ExpiresAt never does. The session ends at whichever comes first.
	IdleExpiresAt time.Time
	ExpiresAt     time.Time
	// UserAgent and Address are of the login, for the person to recognise the session by. Nothing is decided by them.
	UserAgent, Address string
	// Sealed holds tokens and claims, encrypted. Opaque to a store, which keeps a copy of what it is given. What it gives may
	// be shared, and is not written to.
	Sealed []byte
}

// Expired tells whether the session has ended by time. The instant of expiry itself is past it.
func (r *Record) Expired(now time.Time) bool {
	return !now.Before(r.IdleExpiresAt) || !now.Before(r.ExpiresAt)
}

var (
	// ErrNotFound says that there is no such session, or no longer. Only this error may sign anybody out: every other
	// error of a store is an outage, after which everybody is still signed in (oauth2-proxy #2503, #1325).
	ErrNotFound = errors.New("session: not found")
	// ErrLocked says that another holds the lock of the session. The error is a [*LockedError] when it is known until when.
	ErrLocked = errors.New("session: locked by another")
	// ErrFenced says that the lock was granted to another since, so the write was not made.
	ErrFenced = errors.New("session: the lock was granted to another since")
	// ErrCursor says that List was given a cursor that the store did not make.
	ErrCursor = errors.New("session: no such cursor")
	// ErrExists says that Create was given the ID of a live session.
	ErrExists = errors.New("session: exists already")
)

// LockedError is an [ErrLocked] that knows when the holder's lease runs out.
type LockedError struct {
	Until time.Time
}

func (e *LockedError) Error() string { return ErrLocked.Error() }

// Is makes errors.Is(err, ErrLocked) true.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Store keeps sessions. One that belongs to a single process says so with a method ProcessLocal() bool: its manager does not
// announce itself to others. Package sessiontest checks that an implementation keeps these rules:
//
//   - Every method is safe for concurrent use and ends when its context does. A context that ends is an error of its own,
//     never [ErrNotFound].
//   - A session that has expired is not found, even before [Store.DeleteExpired] removes it.
//   - A session that has ended stays ended: no Touch, Lock, Write or Unlock that was under way brings it back.
//   - What is handed in and out is copied; neither side sees the other's later changes.
//   - Answers may come from a cache of the process, on two conditions: a session that another process ended or changed is
//     seen within a second, and after a successful Lock, Get returns what the last holder of the lock wrote.
type Store interface {
	// Create adds a session and in the same transaction ends the one it replaces, if that is not zero and still there.
	// ErrExists if there is a live session of that ID.
	Create(ctx context.Context, r Record, replaces ID) error
	// Get returns a session, or ErrNotFound.
	Get(ctx context.Context, id ID) (Record, error)
	// Touch moves LastSeenAt and IdleExpiresAt, both together, if lastSeen is later than what is stored; otherwise it does
	// nothing and returns nil, so that touches that overtake each other do no harm. ErrNotFound if there is none.
	Touch(ctx context.Context, id ID, lastSeen, idleExpires time.Time) error
	// Lock grants the lock of a session for the length of the lease. While a lease runs, everybody else gets ErrLocked; one
	// that has run out can be taken over. ErrNotFound if there is no such session.
	Lock(ctx context.Context, id ID, lease time.Duration) (Fence, error)
	// Renew has the lease of a lock that is held end that much later than now, even if it has run out. ErrFenced if the lock
	// was released, or granted to another since; ErrNotFound if the session is gone.
	Renew(ctx context.Context, id ID, f Fence, lease time.Duration) error
	// Write replaces Sealed and releases the lock if the session is there and the fence is the newest granted, even if its
	// lease has run out. ErrNotFound or ErrFenced otherwise, and then nothing has changed.
	Write(ctx context.Context, id ID, f Fence, sealed []byte) error
	// Unlock releases the lock without writing. ErrFenced if it was granted to another since, ErrNotFound if the session is
	// gone; unlocking twice does no harm.
	Unlock(ctx context.Context, id ID, f Fence) error
	// Delete ends a session. ErrNotFound if there was none.
	Delete(ctx context.Context, id ID, why Reason) error
	// DeleteBySID ends the sessions that the provider knows by this sid and returns them; none is no error. The empty sid
	// names no session, not those without one.
	DeleteBySID(ctx context.Context, issuer, sid string, why Reason) ([]ID, error)
	// DeleteBySubject ends all sessions of a person and returns them; none is no error.
	DeleteBySubject(ctx context.Context, issuer, subject string, why Reason) ([]ID, error)
	// ListBySubject returns a person's sessions, newest first (by CreatedAt), without Sealed.
	ListBySubject(ctx context.Context, issuer, subject string) ([]Record, error)
	// List returns some of everybody's sessions, without Sealed and limit at most, and the cursor to go on with; "" begins, and
	// comes back at the end. The order is the store's own. A session that lives all the while is on at least one page, one that
	// begins or ends meanwhile may be; a page that is not the last may be short, or empty. ErrCursor for a cursor that is none.
	List(ctx context.Context, cursor string, limit int) (page []Record, next string, err error)
	// Watch calls event for every session that ends (a replaced one with ReasonReplaced) and for every Touch and Write that
	// changes one, by whichever process of the store, within a second. Expiry is no event. The first event has the zero ID and
	// says that the feed stands: from then on nothing is missed, or another with the zero ID tells of it. Events come one at
	// a time and may overtake each other: a change that is told after the end is an older one. Watch returns when its context ends, the store is closed or the feed breaks, always with
	// an error; after a break, Get does not answer from a cache until the feed stands again. A slow event function holds up
	// its own feed alone.
	Watch(ctx context.Context, event func(Event)) error
	NoteStore
	// DeleteExpired removes what has expired, notes too, and returns how many sessions there were. It may be called by
	// several at once.
	DeleteExpired(ctx context.Context) (int, error)
	// Close frees what the store holds. Later calls fail, and not with ErrNotFound.
	Close() error
}
