package gatehousetest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/gatehousetest"
	"github.com/gatehouse-dev/gatehouse/gatehousetest/internal/notes"
)

// TestCallers: a policy decides about the class of a caller before anything else, over every way into
// the API.
func TestCallers(t *testing.T) {
	t.Parallel()
	app := gatehousetest.Start(t, notes.App())
	user, job := app.Client(app.Token(t, "editor")), app.Client(app.MachineToken(t, "demo-job"))
	gatehousetest.Call(t, job, "POST /api/notes:import", `"Released"`, http.StatusOK)
	for name, call := range map[string]struct {
		client *http.Client
		call   string
	}{
		"a machine at a method for users":        {job, "POST /api/notes"},
		"a machine at a method without a policy": {job, "GET /api/notes"},
		"a user at a method for machines":        {user, "POST /api/notes:import"},
		"a session at a method for machines":     {app.SignIn(t, "editor"), "POST " + app.BaseURL + "/api/notes:import"},
		"a machine of the users' provider":       {app.Client(app.MachineToken(t, "demo-machine")), "POST /api/notes:import"},
	} {
		var note any
		if strings.HasPrefix(call.call, "POST") {
			note = `"Buy milk"`
		}
		if body := gatehousetest.Call(t, call.client, call.call, note, http.StatusForbidden); !strings.Contains(body.String(), "CALLER_CLASS_NOT_ALLOWED") {
			t.Errorf("%s: got %s, want CALLER_CLASS_NOT_ALLOWED", name, body)
		}
	}
	gatehousetest.Call(t, job, "GET /api/motto", nil, http.StatusOK)
	spoilt := app.MachineToken(t, "demo-job", gatehousetest.Claims{"exp": app.Clock.Now().Add(-time.Hour)})
	gatehousetest.Call(t, app.Client(spoilt), "GET /api/motto", nil, http.StatusUnauthorized)
}
