package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The chapters of docs/tutorial.md.
var steps = []string{
	"1. Create it and sign in", "2. Call it as different users", "3. Add a method",
	"4. Implement and test it", "5. Use it in the page", "6. Run it with your provider",
}

func followedByStarter() map[string]string {
	followed := map[string]string{}
	for _, step := range steps {
		followed[step] = "TestStarter"
	}
	return followed
}

// TestStarter follows docs/tutorial.md in an empty directory: it creates a module of the starter,
// applies every change, and runs every command as printed. The modules come from a proxy that has
// this checkout as its newest commit. Only the ports are the test's, and the browser, which Playwright
// would download. CI is empty as on a developer's machine: Playwright then uses the program that runs.
func TestStarter(t *testing.T) {
	t.Parallel()
	f := own(t, "GATEHOUSE_", "GATEHOUSE_OIDC_")
	f.values["GATEHOUSE_OIDC_CLIENT_ID"], f.values["GATEHOUSE_OIDC_CLIENT_SECRET"] = "notes", "a secret of the test"
	f.values["GATEHOUSE_FRONTEND"] = "dir:web/dist"
	bff, gateway := freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(bff)
	browser, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal(err)
	}
	f.env = append(f.env, "GOPROXY="+proxied(t), "npm_config_prefer_offline=true", "CI=", "CHROMIUM="+browser, "BASE_URL="+base, "WEB_PORT="+portOf(freeAddress(t)),
		"GATEHOUSE_LISTEN_BFF="+bff, "GATEHOUSE_LISTEN_GATEWAY="+gateway, "GATEHOUSE_LISTEN_GRPC="+freeAddress(t), "GATEHOUSE_LISTEN_DEVIDP="+freeAddress(t))
	f.here = strings.NewReplacer("localhost:3000", "localhost:"+portOf(bff))
	f.promises = map[string]string{"names the field": `"field":"text"`, "names the permission": "notes:moderate"}
	f.instead = map[string][]string{"browser": nil}
	tb := startChromium(t).newTab(t)
	var dev *group
	f.start = func(command string) {
		if dev != nil {
			tb.open("about:blank") // the page would load itself again in the middle of the next step
			dev.interrupt(t)
		}
		dev = startGroup(t, f.dir, f.env, command)
		within(t, compiling, command+" serves", func() error {
			if status, err := statusOf(t, base+"/readyz"); err != nil || status != 200 {
				return fmt.Errorf("status %d (%w)", status, err)
			}
			return nil
		})
	}
	addNote := func() {
		tb.open(base)
		tb.press("Sign in")
		tb.choose("ada")
		tb.becomes("Ada is signed in", `document.querySelector("header")?.innerText.includes("Ada Reader")`)
		tb.enter("input[name=text]", "From a browser")
		tb.press("Add")
	}

	f.follow(t, chapter(t, tutorial, steps[0]))
	addNote()
	tb.press("Delete")
	tb.becomes("the refusal is shown", `document.querySelector("[role=alert]")?.innerText.includes("notes:moderate")`)

	f.follow(t, chapter(t, tutorial, steps[1]))

	// A second package that imports the first: the code for it needs the name of the new module.
	f.write(t, "proto/labels/v1/labels.proto", `syntax = "proto3";

package labels.v1;

import "notes/v1/notes.proto";

message Label {
  notes.v1.Note note = 1;
}
`)
	f.follow(t, chapter(t, tutorial, steps[2]))
	if code, err := os.ReadFile(filepath.Join(f.dir, "gen/labels/v1/labels.pb.go")); err != nil || !strings.Contains(string(code), `"example.com/shop/gen/notes/v1"`) {
		t.Errorf("the generated code does not import the new module (%v):\n%.1000s", err, code)
	}
	f.follow(t, chapter(t, tutorial, steps[3]))

	// The page is open when it is changed. The session is short, so that the page counts down.
	f.env = append(f.env, "GATEHOUSE_SESSION_IDLE_TIMEOUT=59s")
	page := chapter(t, tutorial, steps[4])
	f.follow(t, page[:1])
	addNote()
	tb.becomes("the page counts down", `document.querySelector("[role=timer]")?.innerText.startsWith("Your session ends in 5")`)
	f.follow(t, page[1:])
	tb.press("Like (0)")
	tb.becomes("the like is counted", `document.querySelector("li")?.innerText.includes("Like (1)")`)
	tb.press("Stay signed in")
	dev.interrupt(t)
	f.start, f.here = nil, nil
	for _, listen := range []string{"GATEHOUSE_LISTEN_BFF", "GATEHOUSE_LISTEN_GATEWAY", "GATEHOUSE_LISTEN_GRPC"} {
		f.settings = append(f.settings, listen+"="+f.values[listen])
	}
	f.follow(t, chapter(t, tutorial, steps[5]))
	if page := body(t, f.values["GATEHOUSE_BASE_URL"]+"/"); !strings.Contains(page, `src="/assets/`) {
		t.Errorf("the program does not serve the built page:\n%s", page)
	}
	f.done(t, map[string]int{"run": 5, "start": 3, "status": 1, "request": 6, "apply": 5, "browser": 1, "environment": 1})
}

// TestStarterPins checks that the starter requires the versions that this repository uses.
func TestStarterPins(t *testing.T) {
	t.Parallel()
	read := func(name string) string {
		content, err := os.ReadFile("../" + name)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	pinned, direct := read("go.mod")+read("tools/go.mod"), 0
	for _, required := range all(read(starterDir+"/go.mod"), `(?m)^\t(\S+ v\S+)$`) {
		direct++
		if !strings.Contains(pinned, "\t"+required+"\n") && !strings.Contains(pinned, "\t"+required+" // indirect\n") {
			t.Errorf("%s/go.mod requires %s, which neither go.mod nor tools/go.mod does", starterDir, required)
		}
	}
	buf := all(read("tools/go.mod"), `(?m)^\tgithub.com/bufbuild/buf v(\S+)`)
	if !strings.Contains(read(starterDir+"/web/package.json"), `"@bufbuild/buf": "`+buf[0]+`"`) {
		t.Errorf("%s/web/package.json has not buf %s, as tools/go.mod", starterDir, buf[0])
	}
	if direct < 6 {
		t.Errorf("found %d requirements, want at least 6", direct)
	}
}

// press presses the first button with a text.
func (tb *tab) press(text string) {
	tb.t.Helper()
	button := fmt.Sprintf(`[...document.querySelectorAll("button")].find((b) => b.innerText === %q)`, text)
	tb.becomes("there is a button "+text, button)
	js[bool](tb, `(`+button+`.click(), true)`)
}

// A group is a command with all processes that it starts.
type group struct{ *process }

func startGroup(t *testing.T, dir string, env []string, command string) *group {
	t.Helper()
	g := &group{&process{name: command, cmd: exec.Command("sh", "-euc", command), out: &transcript{}, done: make(chan struct{})}}
	g.cmd.Dir, g.cmd.Env = dir, append(append(os.Environ(), "PWD="+dir), env...)
	g.cmd.Stdout, g.cmd.Stderr = g.out, g.out
	g.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	g.cmd.WaitDelay = patience
	if err := g.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = g.cmd.Wait() // how it ends does not matter
		close(g.done)
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL) // it may have ended
		<-g.done
		if t.Failed() {
			t.Logf("%s said:\n%s", command, g.out)
		}
	})
	return g
}

// interrupt does what Ctrl-C does, and waits until no process of the group is left.
func (g *group) interrupt(t *testing.T) {
	t.Helper()
	if err := syscall.Kill(-g.cmd.Process.Pid, syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	g.wait(t)
	eventually(t, g.name+" has ended", func() error {
		if err := syscall.Kill(-g.cmd.Process.Pid, 0); !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("processes are left (%v)", err)
		}
		return nil
	})
}
