// Command notes serves the API of the notes, their page in web, and the login.
package main

import (
	_ "embed"

	"github.com/gatehouse-dev/gatehouse"

	notesv1 "github.com/gatehouse-dev/gatehouse/examples/starter/gen/notes/v1"
	"github.com/gatehouse-dev/gatehouse/examples/starter/internal/notes"
)

//go:embed comments.binpb
var comments []byte // of the .proto files; make generate writes it

func main() { gatehouse.Main(app()) }

func app() gatehouse.App {
	return gatehouse.App{
		Name: "notes", Title: "Notes", Version: "1", Comments: comments,
		Services: []gatehouse.Service{
			gatehouse.NewService(&notesv1.NoteService_ServiceDesc, notesv1.NewNoteServiceClient,
				notesv1.RegisterNoteServiceHandlerClient, &notes.Service{}),
		},
	}
}
