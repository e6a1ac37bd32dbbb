package session

import (
	"cmp"
	"context"
	"errors"
	"slices"
)

// Index is implemented by a [Store] that finds sessions by provider session and by subject. For
// other stores, [IndexOf] reads all sessions.
type Index interface {
	// DeleteBySID ends the sessions that the provider knows by this sid and returns them; none is
	// no error. The empty sid names no session.
	DeleteBySID(ctx context.Context, issuer, sid string, why Reason) ([]ID, error)
	// DeleteBySubject ends all sessions of a subject and returns them; none is no error.
	DeleteBySubject(ctx context.Context, issuer, subject string, why Reason) ([]ID, error)
	// ListBySubject returns the sessions of a subject, newest first (by CreatedAt), without Sealed.
	ListBySubject(ctx context.Context, issuer, subject string) ([]Record, error)
}

// Watcher is implemented by a [Store] that reports ends and changes. A [Manager] asks other stores
// twice a second about the sessions that are watched, and learns no [Reason].
type Watcher interface {
	// Watch calls event for every session that ends (a replaced one with ReasonReplaced) and for
	// every Touch and Write that changes one, by any process of the store, within a second. Expiry
	// is no event. The first event has the zero ID and says that the feed is established: from then
	// on no event is lost, or an event with the zero ID says that some may be. Events come one at a
	// time and may overtake each other: a change reported after an end is older than it. Watch
	// always returns an error: when its context ends, the store is closed or the feed breaks. After
	// a break, Get does not answer from a cache until the feed is established again. A slow event
	// function delays only its own feed.
	Watch(ctx context.Context, event func(Event)) error
}

// Sweeper is implemented by a [Store] whose expired sessions and notes must be removed.
// [Manager.Run] does so.
type Sweeper interface {
	// DeleteExpired removes expired sessions and notes and returns the number of sessions. Several
	// processes may call it at the same time.
	DeleteExpired(ctx context.Context) (int, error)
}

// Local is implemented by a [Store] that may belong to a single process. A [Manager] announces
// itself to the others of every other store, by notes.
type Local interface {
	// ProcessLocal reports whether no other process uses the store.
	ProcessLocal() bool
}

// ReadyChecker is implemented by a [Store] that can tell whether it can serve requests.
type ReadyChecker interface {
	// Ready returns why the store cannot serve requests at the moment, or nil.
	Ready(ctx context.Context) error
}

func isLocal(s Store) bool {
	l, ok := s.(Local)
	return ok && l.ProcessLocal()
}

// IndexOf returns the store itself if it is an [Index], and otherwise an Index that reads all
// sessions at every call.
func IndexOf(s Store) Index {
	if index, ok := s.(Index); ok {
		return index
	}
	return scan{s}
}

// scan is the Index of a store that has none.
type scan struct{ store Store }

// scanPage is how many sessions a scan reads at a time.
const scanPage = 200

// find returns the live sessions that match.
func (s scan) find(ctx context.Context, match func(*Record) bool) ([]Record, error) {
	var found []Record
	seen := map[ID]bool{}
	for cursor := ""; ; {
		page, next, err := s.store.List(ctx, cursor, scanPage)
		if err != nil {
			return nil, err
		}
		for i := range page {
			if r := &page[i]; !seen[r.ID] && match(r) {
				seen[r.ID] = true
				found = append(found, *r)
			}
		}
		if next == "" {
			return found, nil
		}
		cursor = next
	}
}

func (s scan) end(ctx context.Context, why Reason, match func(*Record) bool) ([]ID, error) {
	records, err := s.find(ctx, match)
	if err != nil {
		return nil, err
	}
	var ended []ID
	for i := range records {
		switch err := s.store.Delete(ctx, records[i].ID, why); {
		case err == nil:
			ended = append(ended, records[i].ID)
		case !errors.Is(err, ErrNotFound):
			return ended, err
		}
	}
	return ended, nil
}

func (s scan) DeleteBySID(ctx context.Context, issuer, sid string, why Reason) ([]ID, error) {
	return s.end(ctx, why, func(r *Record) bool { return sid != "" && r.Issuer == issuer && r.SID == sid })
}

func (s scan) DeleteBySubject(ctx context.Context, issuer, subject string,
	why Reason) ([]ID, error) {
	return s.end(ctx, why, func(r *Record) bool { return r.Issuer == issuer && r.Subject == subject })
}

func (s scan) ListBySubject(ctx context.Context, issuer, subject string) ([]Record, error) {
	records, err := s.find(ctx, func(r *Record) bool { return r.Issuer == issuer && r.Subject == subject })
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), slices.Compare(a.ID[:], b.ID[:]))
	})
	return records, err
}
