package redis

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/outage"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist/internal/denials"
)

const (
	// beat is how long Redis may block a read of the feed.
	beat = 200 * time.Millisecond
	// page is how many denials are read or written at a time.
	page = 1000
	// The pauses between attempts to follow the feed.
	minPause, maxPause = 50 * time.Millisecond, 300 * time.Millisecond
	// fullPause is the pause after an attempt with a mirror that is too small,
	// since each attempt loads everything.
	fullPause = 10 * time.Second
	// unsentPause is how often denials that Redis refused are written again.
	unsentPause = 5 * time.Second
)

var (
	errGap    = errors.New("the feed has a gap")
	errUnsent = errors.New("a denial could not be written")
)

// A follower follows the feed on a connection of its own.
type follower struct {
	conn    rueidis.DedicatedClient
	release func()
	epoch   string
	last    int64 // number of the last change that is in the mirror
}

// Run synchronizes the mirror with Redis until ctx ends or the list is closed, and
// then returns nil. It must run once, at all times: without it every look-up asks
// Redis.
func (l *List) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.closing, cancel)()
	pause := minPause
	feed := outage.New(outage.Config{Name: "denylist feed", Logger: l.cfg.Logger})
	for {
		f, err := l.first.Swap(nil), error(nil)
		if f == nil {
			f, err = l.connect(ctx)
		}
		if err == nil {
			err = l.follow(ctx, f, func() {
				pause = minPause
				feed.OK(ctx)
			})
			f.release()
		}
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, denylist.ErrFull) {
			l.full.Store(true)
			l.asOf.Store(0) // denials without room are not in the mirror
			pause = fullPause
		}
		feed.Fail(ctx, err)
		if sleep(ctx, pause/2+rand.N(pause/2)) != nil {
			return nil
		}
		pause = min(pause*2, maxPause)
	}
}

// connect opens a connection and copies to the mirror and to Redis the denials
// that only the other has.
func (l *List) connect(ctx context.Context) (*follower, error) {
	f := &follower{}
	f.conn, f.release = l.client.Dedicate()
	if err := l.sync(ctx, f); err != nil {
		f.release()
		return nil, err
	}
	return f, nil
}

func (l *List) sync(ctx context.Context, f *follower) error {
	l.unsent.Store(false) // first, since denials from now on may be missed below
	sent := l.elapsed()
	age, err := l.hello(ctx, f)
	if err != nil {
		return l.problem("read the epoch", err)
	}
	stored, fits, err := l.load(ctx, f)
	if err != nil {
		return l.problem("load denials", err)
	}
	if err := l.putBack(ctx, l.mirror.Missing(stored)); err != nil {
		l.unsent.Store(true)
		if _, refused := rueidis.IsRedisErr(err); !refused {
			return l.problem("restore denials", err)
		}
		// Out of memory or read-only: the changes of others can still be followed.
		if ok, held := l.refused.Next(); ok {
			l.cfg.Logger.ErrorContext(ctx, "redis refuses denials that only this process has", "err",
				l.problem("restore denials", err), "suppressed", held)
		}
	}
	l.epoch.Store(&f.epoch)
	l.settled.Store(int64(sent + max(0, settleFor-age)))
	if l.full.Store(!fits); !fits {
		return l.problem("load denials", denylist.ErrFull)
	}
	l.freshAsOf(sent)
	return nil
}

// freshAsOf records that all denials made before a time are in the mirror. In an
// epoch that has just begun some may not be restored yet.
func (l *List) freshAsOf(t time.Duration) {
	if l.closing.Err() == nil && !l.settling() {
		l.asOf.Store(int64(t))
	}
}

func (l *List) hello(ctx context.Context, f *follower) (age time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	names := []string{l.keys.epoch, l.keys.seq, l.keys.feed}
	reply, err := hello.Exec(ctx, l.client, names, []string{crand.Text()}).AsStrSlice()
	if err != nil {
		return 0, err
	}
	if len(reply) != 3 {
		return 0, fmt.Errorf("%d values, want 3", len(reply))
	}
	f.epoch = reply[0]
	ms, err := strconv.ParseInt(reply[1], 10, 64)
	if err != nil {
		return 0, err
	}
	f.last, err = strconv.ParseInt(reply[2], 10, 64)
	return time.Duration(ms) * time.Millisecond, err
}

// load reads all denials and reports whether the mirror had room for them. It may
// miss denials written meanwhile, which the feed has from its position, taken
// before.
func (l *List) load(ctx context.Context,
	f *follower) (stored map[denials.Name]denials.Denial, fits bool, err error) {
	stored, fits = map[denials.Name]denials.Denial{}, true
	for cursor := uint64(0); ; {
		scan, err := l.feedDo(ctx, f, f.conn.B().Zscan().Key(l.keys.index).Cursor(cursor).Count(page).Build()).AsScanEntry()
		if err != nil {
			return nil, false, err
		}
		for scores := range slices.Chunk(scan.Elements, 2*page) { // small sets ignore the count
			read, err := l.loadPage(ctx, f, scores)
			if err != nil {
				return nil, false, err
			}
			maps.Copy(stored, read)
		}
		if cursor = scan.Cursor; cursor == 0 {
			break
		}
	}
	for n, d := range stored {
		fits = l.mirror.Put(denials.Entry{Name: n, Denial: d}) && fits
	}
	return stored, fits, nil
}

// loadPage reads denials, given names and scores in turn.
func (l *List) loadPage(ctx context.Context, f *follower,
	scores []string) (map[denials.Name]denials.Denial, error) {
	var names []denials.Name
	var keys []string
	for i := 0; i < len(scores); i += 2 {
		n, err := denials.ParseName(scores[i])
		if err != nil {
			return nil, err
		}
		names = append(names, n)
		keys = append(keys, l.keys.prefix+scores[i])
	}
	values, err := l.feedDo(ctx, f, f.conn.B().Mget().Key(keys...).Build()).ToArray()
	if err != nil {
		return nil, err
	}
	return parse(names, values)
}

func (l *List) feedDo(ctx context.Context, f *follower,
	cmd rueidis.Completed) rueidis.RedisResult {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return f.conn.Do(ctx, cmd)
}

// putBack writes denials that Redis lacks.
func (l *List) putBack(ctx context.Context, entries []denials.Entry) error {
	for some := range slices.Chunk(entries, page) {
		var batch []rueidis.LuaExec
		for _, e := range some {
			if !l.mirror.Ended(e.Denial) {
				batch = append(batch, l.keys.deny(e, l.cfg.Now().UnixMilli()))
			}
		}
		if len(batch) == 0 {
			continue
		}
		if err := l.denyAll(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

func (l *List) denyAll(ctx context.Context, batch []rueidis.LuaExec) error {
	ctx, cancel := context.WithTimeout(ctx, writeWithin)
	defer cancel()
	for _, r := range deny.ExecMulti(ctx, l.client, batch...) {
		if err := r.Error(); err != nil {
			return err
		}
	}
	return nil
}

// follow reads the feed until an error, and calls healthy after each read.
func (l *List) follow(ctx context.Context, f *follower, healthy func()) error {
	began := l.elapsed()
	for {
		if err := l.next(ctx, f); err != nil {
			return l.problem("follow the feed", err)
		}
		healthy()
		if l.unsent.Load() && l.elapsed()-began > unsentPause {
			return errUnsent // sync writes them again
		}
	}
}

// next waits for changes, a beat at most. The first command returns the number of
// the last change, and the second must deliver the changes up to it. This detects
// a feed that was emptied, trimmed or replaced, and all changes before the
// commands were sent are then known.
func (l *List) next(ctx context.Context, f *follower) error {
	ctx, cancel := context.WithTimeout(ctx, beat+answerWithin)
	defer cancel()
	sent := l.elapsed()
	before := f.last
	replies := f.conn.DoMulti(ctx,
		f.conn.B().Mget().Key(l.keys.epoch, l.keys.seq).Build(),
		f.conn.B().Xread().Count(page).Block(beat.Milliseconds()).Streams().Key(l.keys.feed).Id(strconv.FormatInt(f.last, 10)+"-0").Build(),
	)
	head, err := replies[0].AsStrSlice()
	if err != nil {
		return err
	}
	if len(head) != 2 || head[0] != f.epoch {
		return errLost
	}
	seq, err := strconv.ParseInt(head[1], 10, 64)
	if err != nil {
		return errLost
	}
	streams, err := replies[1].AsXRead()
	if err != nil && !rueidis.IsRedisNil(err) {
		return err
	}
	for _, change := range streams[l.keys.feed] {
		if err := l.apply(f, change); err != nil {
			return err
		}
	}
	switch {
	case seq < before, seq > f.last && f.last == before:
		return errGap
	case seq <= f.last:
		l.freshAsOf(sent)
	}
	return nil // there may be more to read
}

func (l *List) apply(f *follower, change rueidis.XRangeEntry) error {
	if change.ID != strconv.FormatInt(f.last+1, 10)+"-0" {
		return errGap
	}
	id, value, _ := strings.Cut(change.FieldValues["d"], " ")
	n, err := denials.ParseName(id)
	if err != nil {
		return err
	}
	d, err := denials.ParseDenial(value)
	if err != nil {
		return err
	}
	if !l.mirror.Put(denials.Entry{Name: n, Denial: d}) {
		return denylist.ErrFull
	}
	f.last++
	return nil
}
