//go:build unix

package lifecycle_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// floodVariable has the addresses of a flood's process: it makes the test a server.
const floodVariable = "LIFECYCLE_TEST_FLOODED"

// TestFlood floods a Front port of a process that may have 128 file descriptors: a
// Last part answers nevertheless, and the Front part does again after the flood.
func TestFlood(t *testing.T) {
	t.Parallel()
	if os.Getenv(floodVariable) != "" {
		serveUntilKilled(t)
	}
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", "ulimit -n 128; exec \"$0\" -test.run=^TestFlood$", os.Args[0])
	cmd.Env = append(os.Environ(), floodVariable+"=1")
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	var front, last string
	if _, err := fmt.Fscanln(output, &front, &last); err != nil {
		t.Fatal(err)
	}
	get := func(address string) error {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get("http://" + address)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	var flood []net.Conn
	for range 200 {
		c, err := net.Dial("tcp", front)
		if err != nil {
			t.Fatal(err)
		}
		flood = append(flood, c)
	}
	if err := get(front); err == nil {
		t.Error("the flooded port answers, so this proves nothing")
	}
	for range 3 {
		if err := get(last); err != nil {
			t.Errorf("the last part does not answer: %v", err)
		}
	}
	for _, c := range flood {
		_ = c.Close()
	}
	deadline := time.Now().Add(time.Minute)
	for err := get(front); err != nil; err = get(front) {
		if time.Now().After(deadline) {
			t.Fatalf("after the flood: %v", err)
		}
	}
}

// serveUntilKilled serves two ports and writes their addresses.
func serveUntilKilled(t *testing.T) {
	part := func(name string) *lifecycle.Part {
		return &lifecycle.Part{Name: name, Address: "127.0.0.1:0", Server: &http.Server{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }), ReadHeaderTimeout: time.Minute}}
	}
	front, last := part("front"), part("last")
	cfg := lifecycle.Config{Front: []*lifecycle.Part{front}, Last: []*lifecycle.Part{last}}
	if err := cfg.Listen(); err != nil {
		t.Fatal(err)
	}
	fmt.Println(strings.Join([]string{front.Listener.Addr().String(), last.Listener.Addr().String()}, " "))
	t.Error(lifecycle.Run(context.Background(), cfg))
}
