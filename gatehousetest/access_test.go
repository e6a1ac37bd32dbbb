package gatehousetest_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

// TestAccess: the table has what the server decides, and calls nothing.
func TestAccess(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Config{Users: []gatehousetest.User{
		{Key: "editor", Permissions: []string{"notes:write"}}, {Key: "owner", Permissions: []string{"notes:write"}, ACR: []string{"mfa"}}, {Key: "reader"},
	}}.Start(t, notes.App())
	gatehousetest.Call(t, app.SignIn(t, "editor"), "POST /api/notes", `"Buy milk"`, http.StatusOK)
	const want = `
notes.v1.NotesService/CreateNote token, permission notes:write sign in yes yes no no
notes.v1.NotesService/DeleteNotes token, permission notes:write, signed in within 5m0s sign in yes yes no no
notes.v1.NotesService/ExportNotes token, acr mfa sign in step up yes step up no
notes.v1.NotesService/ImportNote token, permission notes:write, callers machines sign in no no no yes
notes.v1.NotesService/ListNotes token sign in yes yes yes no
notes.v1.NotesService/Motto public yes yes yes yes yes
`
	var got strings.Builder
	for line := range strings.Lines(app.Access(t)) {
		got.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
	}
	if !strings.HasPrefix(got.String(), "method policy no token editor owner reader demo-job\n") || !strings.Contains(got.String(), want) {
		t.Errorf("got:\n%swant in it:%s", got.String(), want)
	}
	if list := gatehousetest.Call(t, app.SignIn(t, "reader"), "GET /api/notes", nil, http.StatusOK); list.String() != `["Buy milk"]` {
		t.Errorf("the notes are %s", list)
	}
}

// TestCheckAccess: the file is written once, and another table fails the test.
func TestCheckAccess(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	file := filepath.Join(t.TempDir(), "testdata", "access.txt")
	if failed := attempt(t, func(t testing.TB) { app.CheckAccess(t, file, "reader") }); !strings.Contains(failed, "has been written") {
		t.Errorf("without a file the test fails with %q", failed)
	}
	app.CheckAccess(t, file, "reader")
	if written, err := os.ReadFile(file); err != nil || string(written) != app.Access(t, "reader") {
		t.Errorf("the file is %q, error %v", written, err)
	}
	if failed := attempt(t, func(t testing.TB) { app.CheckAccess(t, file, "editor") }); !strings.Contains(failed, "differs from "+file) {
		t.Errorf("with another user the test fails with %q", failed)
	}
	if failed := attempt(t, func(t testing.TB) { app.CheckAccess(t, file, "editr") }); !strings.Contains(failed, `there is no user "editr"`) {
		t.Errorf("with an unknown user the test fails with %q", failed)
	}
}

// TestCall: bodies in every form, and failures that say what came instead.
func TestCall(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	client := app.SignInAs(t, gatehousetest.User{Permissions: []string{"notes:write"}})
	for _, body := range []any{`"Buy milk"`, "\"Buy milk\"\n", wrapped("Buy milk"), []byte(`"Buy milk"`), struct{}{}} {
		want := http.StatusOK
		if _, ok := body.(struct{}); ok {
			want = http.StatusBadRequest
		}
		gatehousetest.Call(t, client, "POST /api/notes", body, want)
	}
	var list []string
	gatehousetest.Call(t, client, "GET /api/notes", nil, http.StatusOK).Decode(t, &list)
	if len(list) != 4 || list[0] != "Buy milk" {
		t.Errorf("the notes are %q", list)
	}
	note := wrapped("")
	gatehousetest.Call(t, client, "POST "+app.BaseURL+"/api/notes", "\"a\"", http.StatusOK).Decode(t, note)
	if note.GetValue() != "a" {
		t.Errorf("got %v", note)
	}
	for want, test := range map[string]func(testing.TB){
		"GET /api/nothing: status 404, want 200: {": func(t testing.TB) { gatehousetest.Call(t, client, "GET /api/nothing", nil, http.StatusOK) },
		`"GET" is no request`:                       func(t testing.TB) { gatehousetest.Call(t, client, "GET", nil, http.StatusOK) },
		"encode the body":                           func(t testing.TB) { gatehousetest.Call(t, client, "POST /api/notes", func() {}, http.StatusOK) },
		"decode a response":                         func(t testing.TB) { gatehousetest.Body("{").Decode(t, &list) },
	} {
		if failed := attempt(t, test); !strings.Contains(failed, want) {
			t.Errorf("the test fails with %q, want %q", failed, want)
		}
	}
}
