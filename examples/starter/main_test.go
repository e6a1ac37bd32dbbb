package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
)

func TestNotes(t *testing.T) {
	t.Parallel()
	system := gatehousetest.Start(t, app())
	visitor, ada, moderator := system.Client(""), system.SignIn(t, "ada"), system.SignIn(t, "moderator")

	call(t, visitor, "GET", "/api/notes", "", 200)
	call(t, visitor, "POST", "/api/notes", `{"text": "Hello"}`, 401)
	call(t, ada, "POST", "/api/notes", `{"text": ""}`, 400)
	call(t, ada, "POST", "/api/notes", `{"text": "Hello"}`, 200)
	if got := call(t, visitor, "GET", "/api/notes", "", 200); !strings.Contains(got, `"text":"Hello"`) {
		t.Errorf("the note is not listed: %s", got)
	}
	call(t, ada, "DELETE", "/api/notes/1", "", 403)
	call(t, moderator, "DELETE", "/api/notes/1", "", 200)
	call(t, moderator, "DELETE", "/api/notes/1", "", 404)
}

// call makes a request, compares the status of its response, and returns the body.
func call(t *testing.T, client *http.Client, method, path, body string, want int) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != want {
		t.Errorf("%s %s: status %d, want %d: %s (%v)", method, path, resp.StatusCode, want, got, err)
	}
	return string(got)
}
