package redis

import (
	"cmp"
	"context"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// notes implements [session.NoteStore].
type notes struct{ *server }

// AddNote implements [session.NoteStore].
func (s notes) AddNote(ctx context.Context, n session.Note) (bool, error) {
	return s.putNote(ctx, n, "add")
}

// PutNote implements [session.NoteStore].
func (s notes) PutNote(ctx context.Context, n session.Note) error {
	_, err := s.putNote(ctx, n, "put")
	return err
}

func (s notes) putNote(ctx context.Context, n session.Note, how string) (bool, error) {
	due := "0"
	if !n.DueAt.IsZero() {
		due = millis(n.DueAt)
	}
	stored, err := s.run(ctx, putNote, s.keys.note(n.Kind, n.Key), n.Key,
		rueidis.BinaryString(n.Value), due, millis(n.ExpiresAt), how).AsInt64()
	return stored == 1, outage(err)
}

// CountNote implements [session.NoteStore].
func (s notes) CountNote(ctx context.Context, kind, key string, expires time.Time) (int64, error) {
	count, err := s.run(ctx, countNote, s.keys.note(kind, key)[:1], millis(expires)).AsInt64()
	return count, outage(err)
}

// GetNote implements [session.NoteStore].
func (s notes) GetNote(ctx context.Context, kind, key string) (session.Note, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	n, err := s.note(kind, key, s.client.Do(ctx, s.getNote(kind, key)))
	if err == nil && !s.now().Before(n.ExpiresAt) {
		err = session.ErrNotFound
	}
	if err != nil {
		return session.Note{}, outage(err)
	}
	return n, nil
}

func (s notes) getNote(kind, key string) rueidis.Completed {
	return s.client.B().Hmget().Key(s.keys.note(kind, key)[0]).Field("v", "d", "e").Build()
}

// note returns the note of the fields v, d and e.
func (s notes) note(kind, key string, answer rueidis.RedisResult) (session.Note, error) {
	fields, err := answer.ToArray()
	if err != nil || len(fields) != 3 {
		return session.Note{}, notFound(cmp.Or(err, errAnswer))
	}
	if fields[2].IsNil() {
		return session.Note{}, session.ErrNotFound
	}
	value, err1 := fields[0].ToString()
	due, err2 := fields[1].AsInt64()
	expires, err3 := fields[2].AsInt64()
	if err1 != nil || err2 != nil || err3 != nil {
		return session.Note{}, errAnswer
	}
	n := session.Note{Kind: kind, Key: key, Value: []byte(value), ExpiresAt: fromMillis(expires)}
	if due != 0 {
		n.DueAt = fromMillis(due)
	}
	return n, nil
}

// TakeNote implements [session.NoteStore].
func (s notes) TakeNote(ctx context.Context, kind, key string) (session.Note, error) {
	n, err := s.note(kind, key, s.run(ctx, takeNote, s.keys.note(kind, key), key))
	return n, outage(err)
}

// DueNotes implements [session.NoteStore].
func (s notes) DueNotes(ctx context.Context, kind string, limit int) ([]session.Note, error) {
	ctx, cancel := s.bounded(ctx)
	defer cancel()
	now := s.now()
	keys, err := s.client.Do(ctx, s.client.B().Zrange().Key(s.keys.note(kind,
		"")[1]).Min("-inf").Max(millis(now)).
		Byscore().Limit(0, int64(limit)).Build()).AsStrSlice()
	if err != nil || len(keys) == 0 {
		return nil, outage(err)
	}
	questions := make(rueidis.Commands, len(keys))
	for i, key := range keys {
		questions[i] = s.getNote(kind, key)
	}
	var due []session.Note
	for i, answer := range s.client.DoMulti(ctx, questions...) {
		n, err := s.note(kind, keys[i], answer)
		switch {
		case err == session.ErrNotFound:
			// An error is ignored: a Redis that accepts no writes still answers.
			_ = missNote.Exec(ctx, s.client, s.keys.note(kind, keys[i]), []string{keys[i]}).Error()
		case err != nil:
			return nil, outage(err)
		case now.Before(n.ExpiresAt):
			due = append(due, n)
		}
	}
	return due, nil
}
