package session

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"time"
)

// ID is the key of a session in a store: the SHA-256 of the cookie value. It cannot be turned back
// into a cookie.
type ID [sha256.Size]byte

// String returns a handle of 16 hexadecimal digits for logs and pages. It tells the sessions of a
// user apart, and is not enough to find one in a store.
func (id ID) String() string {
	var handle [16]byte
	hex.Encode(handle[:], id[:8])
	return string(handle[:])
}

// MarshalText returns String, so that JSON and structured logs show the handle and not the key.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// IsZero reports whether the ID is unset. No session has the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// Cursor returns the cursor of the page that follows an ID, for a [Store.List] in the order of IDs.
func Cursor(last ID) string { return base64.RawURLEncoding.EncodeToString(last[:]) }

// ParseCursor returns the ID of a [Cursor], the zero ID for "", or [ErrCursor].
func ParseCursor(cursor string) (id ID, err error) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || cursor != "" && len(raw) != len(id) {
		return ID{}, ErrCursor
	}
	copy(id[:], raw)
	return id, nil
}

// Fence is the number of a grant of a session's lock. Each grant has a higher number than those
// before it; zero is never granted.
type Fence int64

// Record is a session as a store keeps it. Times are in UTC and whole milliseconds.
type Record struct {
	ID ID
	// Issuer and Subject identify the user. SID is the provider's name of the session (claim
	// "sid"), "" if there is none.
	Issuer, Subject, SID string
	CreatedAt            time.Time
	LastSeenAt           time.Time
	// IdleExpiresAt moves with use, ExpiresAt does not. The session ends at the earlier of both.
	IdleExpiresAt time.Time
	ExpiresAt     time.Time
	// UserAgent and Address are those of the login. They are shown to the user and decide nothing.
	UserAgent, Address string
	// Sealed holds tokens and claims, encrypted. It is opaque to a store, which copies what it is
	// given. What a store returns may be shared and must not be written to.
	Sealed []byte
}

// End returns when the session ends if it is not used.
func (r *Record) End() time.Time { return earliest(r.IdleExpiresAt, r.ExpiresAt) }

// Expired reports whether the session has expired. At the instant of expiry it has.
func (r *Record) Expired(now time.Time) bool { return !now.Before(r.End()) }

var (
	// ErrNotFound says that there is no such session. It is the only error that signs a user out:
	// every other error of a store is an outage, and sessions go on after it (oauth2-proxy #2503,
	// #1325).
	ErrNotFound = errors.New("session: not found")
	// ErrLocked says that the lock of the session is held. The error is a [*LockedError] if its end
	// is known.
	ErrLocked = errors.New("session: locked")
	// ErrFenced says that the lock was granted again, so that the write was not made.
	ErrFenced = errors.New("session: lock lost")
	// ErrCursor says that the store did not make the cursor given to List.
	ErrCursor = errors.New("session: invalid cursor")
	// ErrExists says that there is a live session with the ID given to Create.
	ErrExists = errors.New("session: already exists")
)

// IsAnswer reports whether err is one of the errors by which a store answers: [ErrNotFound],
// [ErrLocked], [ErrFenced], [ErrExists] or [ErrCursor]. Every other error is an outage.
func IsAnswer(err error) bool {
	for _, answer := range [...]error{ErrNotFound, ErrLocked, ErrFenced, ErrExists, ErrCursor} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// LockedError is an [ErrLocked] with the end of the lease.
type LockedError struct {
	// Until is when the lease runs out.
	Until time.Time
}

func (e *LockedError) Error() string { return ErrLocked.Error() }

// Is reports whether target is ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// Store is the least that a store of sessions must do. What a store can do besides is found by type
// assertion: [Index], [NoteStore], [Watcher], [Sweeper], [Local] and [ReadyChecker]. A [Manager]
// does without a missing part, except that a store shared by several processes must be a NoteStore;
// so must every store of a bff. Package sessiontest checks that an implementation keeps these
// rules:
//
//   - Every method is safe for concurrent use and returns when its context ends, with an error
//     that is not [ErrNotFound].
//   - An expired session is not found, whether it has been removed or not.
//   - A session that has ended stays ended: no Touch, Lock, Write or Unlock in progress restores
//     it.
//   - Arguments and results are copied; neither side sees later changes of the other.
//   - Answers may come from a cache of the process if a session that another process ended or
//     changed is seen within a second, and if Get, after a successful Lock, returns what the last
//     holder of the lock wrote.
type Store interface {
	// Create adds a session and in the same transaction ends the one it replaces, unless that is
	// zero or gone. It returns ErrExists if there is a live session with the ID.
	Create(ctx context.Context, r Record, replaces ID) error
	// Get returns a session, or ErrNotFound.
	Get(ctx context.Context, id ID) (Record, error)
	// Touch sets LastSeenAt and IdleExpiresAt if lastSeen is later than the stored time. Otherwise
	// it does nothing and returns nil, so that touches may overtake each other. It returns
	// ErrNotFound if there is no such session.
	Touch(ctx context.Context, id ID, lastSeen, idleExpires time.Time) error
	// Lock grants the lock of a session for the length of the lease. While a lease runs, other
	// callers get ErrLocked; a lease that has run out can be taken over. It returns ErrNotFound if
	// there is no such session.
	Lock(ctx context.Context, id ID, lease time.Duration) (Fence, error)
	// Renew extends the lease of a held lock to this long from now, also if it has run out. It
	// returns ErrFenced if the lock was released or granted again, and ErrNotFound if the session
	// has ended.
	Renew(ctx context.Context, id ID, f Fence, lease time.Duration) error
	// Write replaces Sealed and releases the lock if the session exists and the fence is the newest
	// granted, also if its lease has run out. Otherwise it returns ErrNotFound or ErrFenced and
	// changes nothing.
	Write(ctx context.Context, id ID, f Fence, sealed []byte) error
	// Unlock releases the lock without writing. It returns ErrFenced if the lock was granted again,
	// and ErrNotFound if the session has ended. Unlocking twice is no error.
	Unlock(ctx context.Context, id ID, f Fence) error
	// Delete ends a session. It returns ErrNotFound if there was none.
	Delete(ctx context.Context, id ID, why Reason) error
	// List returns a page of all live sessions, without Sealed and at most limit of them, and the
	// cursor of the next page. The cursor "" asks for the first page and is returned with the last.
	// The order is the store's own. A session that lives throughout is on at least one page; one
	// that begins or ends meanwhile may be on one. A page that is not the last may be short or
	// empty. It returns ErrCursor for a cursor that it did not make.
	List(ctx context.Context, cursor string, limit int) (page []Record, next string, err error)
}
