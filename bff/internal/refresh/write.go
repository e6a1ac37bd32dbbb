package refresh

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/internal/metrics"
)

const (
	// lateTick is how often Run tries again to store new tokens, and lateLimit how long.
	lateTick  = time.Second
	lateLimit = 5 * time.Minute
)

// An unwritten is the result of a refresh that is not stored yet. The old refresh
// token is spent, so that without the new one the session is lost (oauth2-proxy
// #2503).
type unwritten struct {
	s       *session.Session
	fence   session.Fence
	data    session.Data
	granted string // the new refresh token, "" for none
	errand  bool   // for a route: the access token of the session is the old one
	until   time.Time
}

// write stores the result of a refresh. If the store fails for some time, the
// result is kept for Run and for the next request.
func (r *Refresher) write(ctx context.Context, u *unwritten) (*session.Session, error) {
	bounded, cancel := context.WithTimeout(ctx, writePatience)
	defer cancel()
	for tries := 1; ; tries++ {
		s, final, err := r.tryWrite(ctx, u)
		if final {
			return s, err
		}
		if tries == 1 {
			r.cfg.Logger.InfoContext(ctx, "new tokens not stored; trying again", "session", u.s, "err", err)
		}
		select {
		case <-bounded.Done():
			u.until = r.cfg.Now().Add(lateLimit)
			r.mu.Lock()
			r.unwritten[u.s.ID] = u
			r.mu.Unlock()
			r.results.Add(metrics.RefreshStore)
			return nil, err
		case <-time.After(writePoll):
		}
	}
}

// tryWrite writes once. An error that is not final is one of the store.
func (r *Refresher) tryWrite(ctx context.Context, u *unwritten) (s *session.Session, final bool, err error) {
	bounded, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	s, err = r.cfg.Sessions.Write(bounded, u.s, u.fence, u.data)
	switch {
	case err == nil:
		if u.errand {
			r.cfg.Logger.InfoContext(ctx, "refreshed for a route", "session", u.s)
			return s, true, nil
		}
		if u.data.Tokens.Refresh != "" { // otherwise counted as a failure of class User
			r.results.Add(metrics.RefreshOK)
		}
		r.cfg.Logger.InfoContext(ctx, "access token refreshed", "session", u.s)
		return s, true, nil
	case errors.Is(err, session.ErrNotFound):
		// Signed out meanwhile (nextjs-auth0 #2335): the new tokens must not outlive the session.
		r.revoke(ctx, cmp.Or(u.granted, u.s.Data.Tokens.Refresh))
		return nil, true, err
	case errors.Is(err, session.ErrFenced): // another node has refreshed since
		s, err = r.reload(ctx, u.s)
		return s, true, err
	}
	return nil, false, err
}

// writeLate stores a kept result. The errors are those of Fresh.
func (r *Refresher) writeLate(ctx context.Context, u *unwritten) (*session.Session, error) {
	s, final, err := r.tryWrite(ctx, u)
	expired := !final && !r.cfg.Now().Before(u.until)
	if final || expired {
		r.mu.Lock()
		delete(r.unwritten, u.s.ID)
		r.mu.Unlock()
	}
	if expired {
		r.cfg.Logger.WarnContext(ctx, "new tokens lost: the session store failed", "session", u.s, "duration", lateLimit.Seconds(), "err", err)
	}
	return s, err
}

// Run stores kept results until the context ends. Then it goes on in the
// background until all are stored. Config.Work counts that, so that a stop of the
// process waits for it, within its own limit.
func (r *Refresher) Run(ctx context.Context) {
	tick := time.NewTicker(lateTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			r.cfg.Work.Go(func() {
				for last := context.WithoutCancel(ctx); r.writeAll(last) > 0; {
					time.Sleep(lateTick)
				}
			})
			return
		case <-tick.C:
			r.writeAll(ctx)
		}
	}
}

// writeAll stores the kept results, as flights, so that no request of the session
// does the same. It stops at the first failure of the store, and returns how many
// are left.
func (r *Refresher) writeAll(ctx context.Context) (left int) {
	r.mu.Lock()
	all := slices.Collect(maps.Values(r.unwritten))
	r.mu.Unlock()
	for i, u := range all {
		f, _ := r.begin(ctx, u.s, false, nil)
		if f == nil {
			continue
		}
		<-f.done
		if f.err != nil && !errors.Is(f.err, session.ErrNotFound) {
			return len(all) - i
		}
	}
	return 0
}
