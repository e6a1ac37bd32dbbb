package main

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"

	notesv1 "github.com/gatehouse-dev/gatehouse/examples/starter/gen/notes/v1"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	system := gatehousetest.Start(t, app())
	visitor, ada, moderator := system.Client(""), system.SignIn(t, "ada"), system.SignIn(t, "moderator")

	gatehousetest.Call(t, visitor, "POST /api/notes", `{"text": "Hello"}`, 401)
	gatehousetest.Call(t, ada, "POST /api/notes", `{"text": ""}`, 400)
	gatehousetest.Call(t, ada, "POST /api/notes", `{"text": "Hello"}`, 200)
	var list notesv1.ListNotesResponse
	gatehousetest.Call(t, visitor, "GET /api/notes", nil, 200).Decode(t, &list)
	if len(list.GetNotes()) != 1 || list.GetNotes()[0].GetText() != "Hello" {
		t.Errorf("got %v, want one note, Hello", list.GetNotes())
	}

	gatehousetest.Call(t, ada, "DELETE /api/notes/1", nil, 403)
	gatehousetest.Call(t, moderator, "DELETE /api/notes/1", nil, 200)
	gatehousetest.Call(t, moderator, "DELETE /api/notes/1", nil, 404)
}
