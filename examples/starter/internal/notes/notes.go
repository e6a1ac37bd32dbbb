// Package notes stores notes in memory. Who may call a method is declared in its .proto.
package notes

import (
	"context"
	"slices"
	"strconv"
	"sync"

	"github.com/gatehouse-dev/gatehouse/server/authn"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	notesv1 "github.com/gatehouse-dev/gatehouse/examples/starter/gen/notes/v1"
)

// A Service implements notes.v1.NoteService. The zero value is ready.
type Service struct {
	notesv1.UnimplementedNoteServiceServer

	mu    sync.Mutex
	notes []*notesv1.Note // newest first; a note in here never changes
	last  int
}

// ListNotes returns all notes.
func (s *Service) ListNotes(context.Context, *notesv1.ListNotesRequest) (*notesv1.ListNotesResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &notesv1.ListNotesResponse{Notes: slices.Clone(s.notes)}, nil
}

// AddNote adds a note of the caller. The text has passed the rules in the .proto.
func (s *Service) AddNote(ctx context.Context, r *notesv1.AddNoteRequest) (*notesv1.AddNoteResponse, error) {
	caller, _ := authn.FromContext(ctx) // present, because the method is not public
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last++
	note := &notesv1.Note{Id: strconv.Itoa(s.last), Text: r.GetText(), Author: caller.Subject}
	s.notes = slices.Insert(s.notes, 0, note)
	return &notesv1.AddNoteResponse{Note: note}, nil
}

// DeleteNote deletes a note.
func (s *Service) DeleteNote(_ context.Context, r *notesv1.DeleteNoteRequest) (*notesv1.DeleteNoteResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, err := s.find(r.GetId())
	if err != nil {
		return nil, err
	}
	s.notes = slices.Delete(slices.Clone(s.notes), i, i+1)
	return &notesv1.DeleteNoteResponse{}, nil
}

// find returns the index of a note.
func (s *Service) find(id string) (int, error) {
	i := slices.IndexFunc(s.notes, func(n *notesv1.Note) bool { return n.GetId() == id })
	if i < 0 {
		return 0, status.Errorf(codes.NotFound, "there is no note %q", id)
	}
	return i, nil
}
