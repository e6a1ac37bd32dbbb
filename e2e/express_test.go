package e2e

import (
	"bufio"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The chapters of examples/express/README.md.
const expressReadme = "../examples/express/README.md"

var expressSteps = []string{
	"1. Start Express", "2. Put it behind Gatehouse", "3. Sign in and call it",
	"4. Move one resource to gRPC", "5. Call it again", "6. Sign out",
}

func followedByExpress() map[string]string {
	followed := map[string]string{}
	for _, step := range expressSteps {
		followed[step] = "TestExpress"
	}
	return followed
}

// TestExpress follows examples/express/README.md in a copy of the example: it runs every command as
// printed, with Express and the starter as real processes. Only the ports are the test's, and the
// starter is that of this checkout, whose packages are built already.
func TestExpress(t *testing.T) {
	t.Parallel()
	root, files := checkout(t)
	bff, express, provider := freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(bff)
	f := &follower{
		dir: t.TempDir(), did: map[string]int{}, values: map[string]string{}, mint: func() string { return "" },
		env: []string{"GOWORK=", "GOFLAGS=", "npm_config_prefer_offline=true", "npm_config_audit=false", "npm_config_fund=false",
			"GATEHOUSE_LISTEN_BFF=" + bff, "GATEHOUSE_LISTEN_GATEWAY=" + freeAddress(t), "GATEHOUSE_LISTEN_GRPC=" + freeAddress(t), "GATEHOUSE_LISTEN_DEVIDP=" + provider},
		here: strings.NewReplacer("localhost:3000", "localhost:"+portOf(bff), "127.0.0.1:3001", provider,
			"127.0.0.1:4000", express, "PORT=4000", "PORT="+portOf(express), "../starter", filepath.Join(root, starterDir)),
		promises: map[string]string{
			"Server Running": "\r\n\r\nServer Running...", "a private route": `{"message":"This is a private route"}`,
			"in the words of Express": `{"message":"t`, "wants a token": "Gatehouse-Login: /api/auth/login",
			"keeps the note": `"author":"dev|ada"`, "names the field": `"field":"text"`, "names the permission": "PERMISSION_MISSING",
		},
	}
	for _, name := range files {
		if strings.HasPrefix(name, "examples/express/") {
			content, err := os.ReadFile(filepath.Join(root, name))
			if err != nil {
				t.Fatal(err)
			}
			f.write(t, name, string(content))
		}
	}
	var old, program *group
	f.start = func(command string) {
		command = f.here.Replace(command)
		if strings.Contains(command, "npm start") {
			old = startGroup(t, f.dir, f.env, command)
			old.said(t, "listens on")
			return
		}
		if program != nil {
			program.interrupt(t)
		}
		program = startGroup(t, f.dir, f.env, command)
		within(t, compiling, command+" serves", func() error {
			if status, err := statusOf(t, base+"/readyz"); err != nil || status != 200 {
				return fmt.Errorf("status %d (%w)", status, err)
			}
			return nil
		})
	}
	signIn := func(user string) *visitor {
		v := newVisitor(t)
		v.open(t, base+"/api/auth/login?returnTo=/api&login_hint=as:"+user).wants(t, http.StatusOK, "text/plain")
		return v
	}
	step := func(n int) { f.follow(t, chapter(t, expressReadme, expressSteps[n-1])) }

	step(1)
	step(2)
	step(3)
	v := signIn("moderator")
	v.open(t, base+"/api/v1").wants(t, http.StatusOK, "text/plain") // after a redirect by Express
	live, err := v.client.Get(base + "/api/time")
	if err != nil {
		t.Fatal(err)
	}
	events := bufio.NewScanner(live.Body)
	for events.Scan() && !strings.HasPrefix(events.Text(), "data: 20") {
	}
	if events.Err() != nil || events.Text() == "" {
		t.Errorf("the event stream of Express ends with %q, %v", events.Text(), events.Err())
	}
	_ = live.Body.Close()

	step(4)
	eventually(t, "the requests for notes before the move", func() error {
		if n := strings.Count(old.out.String(), " /api/notes"); n != 3 {
			return fmt.Errorf("Express got %d, want 3", n)
		}
		return nil
	})
	step(5)
	v = signIn("moderator")
	v.send(t, http.MethodDelete, base+"/api/notes/1", http.Header{}, nil).wants(t, http.StatusOK, "application/json")
	if after := strings.Count(old.out.String(), " /api/notes") - 3; after != 0 {
		t.Errorf("Express got %d requests for notes after the move", after)
	}
	step(6)
	program.said(t, "route=/api/*")
	program.said(t, "route=/api/notes")
	if strings.Contains(program.out.String(), "Bearer ") {
		t.Error("the log has a token")
	}
	for use, want := range map[string]int{"run": 6, "start": 3, "status": 3, "request": 13} {
		if f.did[use] != want {
			t.Errorf("%d blocks of the kind %q were done, want %d", f.did[use], use, want)
		}
	}
}
