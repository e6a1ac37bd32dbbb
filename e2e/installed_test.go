package e2e

import (
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestNotifiesSystemd runs the program as a unit of Type=notify.
func TestNotifiesSystemd(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	state := func() string {
		_ = l.SetReadDeadline(time.Now().Add(patience))
		text := make([]byte, 128)
		n, err := l.Read(text)
		if err != nil {
			t.Fatalf("no notification: %v", err)
		}
		return string(text[:n])
	}
	address := freeAddress(t)
	p := gatehouse(t, []string{"NOTIFY_SOCKET=" + socket, "AUTH0_BASE_URL=https://shop.example"},
		"gateway", "--listen-gateway="+address, "--grpc-target=dns:///"+freeAddress(t))
	if got := state(); got != "READY=1" {
		t.Errorf("the first notification is %q, want READY=1", got)
	}
	if conn, err := net.Dial("tcp", address); err != nil {
		t.Errorf("the port is closed after READY=1: %v", err)
	} else {
		_ = conn.Close()
	}
	if code := p.stop(t); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	if got := state(); got != "STOPPING=1" {
		t.Errorf("the last notification is %q, want STOPPING=1", got)
	}
}

// TestBashCompletion sources the script that gatehouse completion writes, and completes words.
func TestBashCompletion(t *testing.T) {
	t.Parallel()
	const script = `
		source /usr/share/bash-completion/bash_completion
		PATH="$(dirname "$0"):$PATH"
		source <("$0" completion bash)
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_TYPE=9
		COMP_POINT=${#COMP_LINE}
		compopt() { :; } # outside a completion by the shell
		__start_gatehouse "$1" "${@: -1}" ""
		printf '%s\n' "${COMPREPLY[@]}"`
	for _, c := range []struct {
		line string
		want []string
	}{
		{"gatehouse gat", []string{"gateway"}},
		{"gatehouse serve --log-l", []string{"--log-level"}},
		{"gatehouse serve --log-format t", []string{"text"}},
	} {
		out, err := exec.CommandContext(t.Context(), "bash", append([]string{"-c", script, program}, strings.Fields(c.line)...)...).CombinedOutput()
		got := strings.Fields(strings.ReplaceAll(string(out), "=", ""))
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%s: completed to %q, want %q (%v)", c.line, got, c.want, err)
		}
	}
}
