//go:build linux

package peers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/gatehouse-dev/gatehouse/bench/internal/rows"
)

// cached returns a path below the folder for what has been downloaded or built, which later runs
// use too: gatehouse-bench in the user's cache directory. It is "" if there is no such directory.
func cached(elements ...string) string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(append([]string{dir, "gatehouse-bench"}, elements...)...)
}

// fetch returns a folder with what fill has put there, now or in an earlier run. It appears as a
// whole, so that an interrupted download is begun anew. The user is told what is being done.
func fetch(e *rows.Env, name, doing string, fill func(dir string) error) (dir string, err error) {
	dir = cached(name)
	if dir == "" {
		return "", errors.New("no cache directory to download to: set XDG_CACHE_HOME")
	}
	if exists(dir) {
		return dir, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return "", err
	}
	unfinished, err := os.MkdirTemp(filepath.Dir(dir), name+"-unfinished-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(unfinished)
	if err := os.Chmod(unfinished, 0o755); err != nil {
		return "", err
	}
	e.Say(doing + ", once, into " + dir + ": this may take minutes")
	if err := fill(unfinished); err != nil {
		return "", err
	}
	if err := os.Rename(unfinished, dir); err != nil && !exists(dir) { // another run may have been faster
		return "", err
	}
	return dir, nil
}

// A tool is a program that downloads or builds.
type tool struct {
	dir string
	env []string // added to that of this program
}

// run runs a command.
func (t tool) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir = t.dir
	cmd.Env = append(cmd.Environ(), t.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that its children end with it
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out[max(0, len(out)-2000):])
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
