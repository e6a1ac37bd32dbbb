// Package notes owns a small application for the tests and examples of package gatehousetest: a
// service that keeps notes in memory. What generators would write for its .proto is in
// generated.go. It leaves everything else to an application that has users.
package notes

import (
	"context"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/gatehouse-dev/gatehouse"
)

// devUsers are the users of the tests.
const devUsers = `
users:
  editor:
    permissions: [notes:write]
  reader:
`

// App returns the application as its main function gives it to gatehouse.Main.
func App() gatehouse.App { return AppAt(time.Now) }

// AppAt returns the application with a clock.
func AppAt(now func() time.Time) gatehouse.App {
	var page int
	return gatehouse.App{
		Name: "notes", Title: "Notes", Version: "1",
		Services: []gatehouse.Service{
			gatehouse.NewServiceFunc(&serviceDesc, newClient, registerHandlerClient, func(context.Context, gatehouse.Environment) (*Service, error) {
				return &Service{now: now, page: page}, nil
			}),
		},
		Settings: []gatehouse.Setting{
			{Name: "notes-on-page", Placeholder: "N", Default: "20", Help: "The number of notes that are listed.", Target: &page},
		},
		DevUsers: []byte(devUsers),
	}
}

// A Service keeps notes.
type Service struct {
	now  func() time.Time
	page int

	mu    sync.Mutex
	notes []any
}

// Motto is public.
func (s *Service) Motto(context.Context, *emptypb.Empty) (*wrapperspb.StringValue, error) {
	return wrapperspb.String("Onwards"), nil
}

// Time returns the time of the service, to the second.
func (s *Service) Time(context.Context, *emptypb.Empty) (*wrapperspb.StringValue, error) {
	return wrapperspb.String(s.now().UTC().Format(time.RFC3339)), nil
}

// ListNotes returns the last notes.
func (s *Service) ListNotes(context.Context, *emptypb.Empty) (*structpb.ListValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return structpb.NewList(s.notes[max(0, len(s.notes)-s.page):])
}

// ExportNotes returns all notes. Its caller must have signed in with two factors.
func (s *Service) ExportNotes(context.Context, *emptypb.Empty) (*structpb.ListValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return structpb.NewList(s.notes)
}

// CreateNote adds a note and returns it.
func (s *Service) CreateNote(_ context.Context, note *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = append(s.notes, note.GetValue())
	return note, nil
}

// ImportNote is CreateNote for machines.
func (s *Service) ImportNote(ctx context.Context, note *wrapperspb.StringValue) (*wrapperspb.StringValue, error) {
	return s.CreateNote(ctx, note)
}

// DeleteNotes deletes all notes.
func (s *Service) DeleteNotes(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.notes = nil
	return &emptypb.Empty{}, nil
}
