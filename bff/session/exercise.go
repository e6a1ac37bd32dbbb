package session

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// exerciseFor is the lifetime of what an interrupted Exercise leaves in the store.
const exerciseFor = time.Minute

// Exercise checks that a store works, and that its user has the rights it needs: it creates a
// session of a random subject and, in a [NoteStore], a note, uses them and removes them. The error
// names the operation.
func Exercise(ctx context.Context, s Store) (err error) {
	now := time.Now()
	r := Record{
		Issuer: "https://gatehouse-check.invalid", Subject: rand.Text(), SID: rand.Text(), CreatedAt: now, LastSeenAt: now,
		IdleExpiresAt: now.Add(exerciseFor / 2), ExpiresAt: now.Add(exerciseFor), UserAgent: "gatehouse check", Sealed: []byte("gatehouse check"),
	}
	if _, err := rand.Read(r.ID[:]); err != nil {
		return err
	}
	try := func(operation string, f func() error) {
		if err == nil {
			if e := f(); e != nil {
				err = fmt.Errorf("%s: %w", operation, e)
			}
		}
	}
	var fence Fence
	lock := func() (err error) { fence, err = s.Lock(ctx, r.ID, exerciseFor); return err }
	try("begin a session", func() error { return s.Create(ctx, r, ID{}) })
	defer func() { // also after a failure in between
		if e := s.Delete(context.WithoutCancel(ctx), r.ID, ReasonUnknown); err == nil && e != nil {
			err = fmt.Errorf("end a session: %w", e)
		}
	}()
	try("read a session", func() error { _, err := s.Get(ctx, r.ID); return err })
	try("touch a session", func() error { return s.Touch(ctx, r.ID, now.Add(time.Second), r.IdleExpiresAt.Add(time.Second)) })
	try("lock a session", lock)
	try("renew a lock", func() error { return s.Renew(ctx, r.ID, fence, exerciseFor) })
	try("write a session", func() error { return s.Write(ctx, r.ID, fence, r.Sealed) })
	try("lock a session", lock)
	try("unlock a session", func() error { return s.Unlock(ctx, r.ID, fence) })
	try("list the sessions of a subject", func() error {
		list, err := IndexOf(s).ListBySubject(ctx, r.Issuer, r.Subject)
		if err == nil && len(list) == 0 {
			err = errors.New("the session is missing")
		}
		return err
	})
	try("list all sessions", func() error { _, _, err := s.List(ctx, "", 1); return err })
	notes, ok := s.(NoteStore)
	if !ok {
		return err
	}
	n := Note{Kind: "gatehouse check", Key: rand.Text(), Value: []byte("gatehouse check"),
		DueAt: now, ExpiresAt: now.Add(exerciseFor)}
	try("add a note", func() error { _, err := notes.AddNote(ctx, n); return err })
	try("replace a note", func() error { return notes.PutNote(ctx, n) })
	try("find a note", func() error { _, err := notes.DueNotes(ctx, n.Kind, 1); return err })
	try("take a note", func() error { _, err := notes.TakeNote(ctx, n.Kind, n.Key); return err })
	return err
}
