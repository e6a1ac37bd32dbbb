package redis

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

const (
	// scanCount is how many keys a server scans at a time, and scanRounds how often it is asked for
	// a page if other keys lie between.
	scanCount  = 1000
	scanRounds = 20
)

// List implements [session.Store], in the order of the servers and of their keys. It may miss
// sessions that a cluster moves between servers meanwhile.
func (s *Store) List(ctx context.Context, cursor string,
	limit int) ([]session.Record, string, error) {
	c, err := parseCursor(cursor)
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	nodes := *s.masters.Load()
	if c.node >= len(nodes) {
		return nil, "", nil // there were more servers when the list began
	}
	node := nodes[c.node]
	var ids []session.ID
	var next position
	for range scanRounds {
		scanned, err := node.Do(ctx,
			node.B().Scan().Cursor(c.scan).Match(s.keys.sessions()+"{*}").Count(scanCount).Type("hash").Build()).AsScanEntry()
		if err != nil {
			return nil, "", outage(err)
		}
		for _, key := range scanned.Elements {
			if e, ok := s.keys.parse(key); ok && !e.Ended {
				ids = append(ids, e.ID)
			}
		}
		ids = ids[min(c.skip, len(ids)):]
		next = position{node: c.node, scan: scanned.Cursor}
		if len(ids) > 0 || scanned.Cursor == 0 {
			break
		}
		c = next
	}
	if len(ids) > limit {
		ids, next = ids[:limit], position{c.node, c.scan, c.skip + limit}
	} else if next.scan == 0 {
		next.node++
	}
	records, err := s.withoutSealed(ctx, ids)
	if err != nil {
		return nil, "", outage(err)
	}
	if next.node == len(nodes) {
		return records, "", nil
	}
	return records, next.String(), nil
}

// position is where a list continues: the server, its own cursor, and how many of the sessions
// there to skip.
type position struct {
	node int
	scan uint64
	skip int
}

func (p position) String() string { return fmt.Sprintf("%d.%d.%d", p.node, p.scan, p.skip) }

func parseCursor(s string) (p position, err error) {
	if s == "" {
		return position{}, nil
	}
	var parts [3]uint64
	texts := strings.Split(s, ".")
	if len(texts) != len(parts) {
		return position{}, session.ErrCursor
	}
	for i, bits := range []int{31, 64, 31} {
		if parts[i], err = strconv.ParseUint(texts[i], 10, bits); err != nil {
			return position{}, session.ErrCursor
		}
	}
	return position{int(parts[0]), parts[1], int(parts[2])}, nil
}
