//go:build linux

package load

import (
	"bufio"
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestReceive: whatever differs from the answer is an error, however a server writes it.
func TestReceive(t *testing.T) {
	t.Parallel()
	const ok = "HTTP/1.1 200 OK\r\n"
	for name, c := range map[string]struct{ response, want string }{
		"length":              {ok + "Content-Length: 37\r\n\r\n" + Answer, ""},
		"lower case":          {ok + "content-length:37\r\n\r\n" + Answer, ""},
		"chunks":              {ok + "Transfer-Encoding: chunked\r\n\r\n10\r\n" + Answer[:16] + "\r\n15\r\n" + Answer[16:] + "\r\n0\r\n\r\n", ""},
		"close":               {ok + "Connection: Close\r\nContent-Length: 37\r\n\r\n" + Answer, ""},
		"keep-alive":          {ok + "Connection: keep-alive\r\nContent-Length: 37\r\n\r\n" + Answer, ""},
		"whitespace":          {ok + "Content-Length: 38\r\n\r\n" + strings.Replace(Answer, ":", ": ", 1), ""},
		"other body":          {ok + "Content-Length: 37\r\n\r\n" + strings.Replace(Answer, "a", "A", 1), "the answer is"},
		"empty":               {ok + "Content-Length: 0\r\n\r\n", "the answer is"},
		"no length":           {ok + "\r\n" + Answer, "an answer of -1 bytes"},
		"too long":            {ok + "Content-Length: 100000\r\n\r\n", "an answer of 100000 bytes"},
		"too long in chunks":  {ok + "Transfer-Encoding: chunked\r\n\r\nfffff\r\n", "an answer of at least"},
		"a chunk of no size":  {ok + "Transfer-Encoding: chunked\r\n\r\n-1\r\n", "size of a chunk"},
		"cut":                 {ok + "Content-Length: 37\r\n\r\n{", "unexpected EOF"},
		"other status":        {"HTTP/1.1 401 Unauthorized\r\nContent-Length: 3\r\n\r\nout", "answered 401 Unauthorized: out"},
		"a redirect to login": {"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n", "answered 302 Found"},
	} {
		r := bufio.NewReader(strings.NewReader(c.response))
		closes, err := Receive(r, make([]byte, 4096))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if closes != strings.Contains(name, "close") {
			t.Errorf("%s: closes %t", name, closes)
		}
		if err == nil && r.Buffered() > 0 {
			t.Errorf("%s: %d bytes of the response are left", name, r.Buffered())
		}
	}
}

func target(t *testing.T, connections int, handler http.HandlerFunc) Target {
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	address := server.Listener.Addr().String()
	return Target{address, slices.Repeat([][]byte{Request(Path, address)}, connections)}
}

// TestSaturate: requests end at their number, or at the time limit.
func TestSaturate(t *testing.T) {
	t.Parallel()
	tgt := target(t, 3, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(Answer)) })
	result, err := Saturate(t.Context(), tgt, 100, time.Hour)
	if err != nil || len(result.Latencies) != 100 {
		t.Errorf("%d requests: %v, want 100", len(result.Latencies), err)
	}
	if result, err = Saturate(t.Context(), tgt, 1<<20, time.Millisecond); err != nil || len(result.Latencies) == 0 || result.Elapsed > time.Minute {
		t.Errorf("%d requests in %v: %v", len(result.Latencies), result.Elapsed, err)
	}
}

// TestServerCloses: a server that closes its connections is asked over new ones.
func TestServerCloses(t *testing.T) {
	t.Parallel()
	var connections sync.Map
	tgt := target(t, 2, func(w http.ResponseWriter, r *http.Request) {
		connections.Store(r.RemoteAddr, true)
		w.Header().Set("Connection", "close")
		_, _ = w.Write([]byte(Answer))
	})
	if result, err := Saturate(t.Context(), tgt, 10, time.Hour); err != nil || len(result.Latencies) != 10 {
		t.Errorf("%d requests: %v, want 10", len(result.Latencies), err)
	}
	seen := 0
	connections.Range(func(any, any) bool { seen++; return true })
	if seen != 10 {
		t.Errorf("%d connections, want 10", seen)
	}
}

// TestConstantCountsWaiting: while a server is frozen, the requests that are due then wait, and their
// latencies say so, although each was answered at once after it was sent.
func TestConstantCountsWaiting(t *testing.T) {
	t.Parallel()
	const frozen = 100 * time.Millisecond
	first := true
	tgt := target(t, 1, func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			<-time.After(frozen)
		}
		_, _ = w.Write([]byte(Answer))
	})
	result, err := Constant(t.Context(), tgt, 1000, frozen)
	if err != nil || len(result.Latencies) != 100 {
		t.Fatalf("%d requests: %v, want 100", len(result.Latencies), err)
	}
	if waited := slices.Sorted(slices.Values(result.Latencies))[50]; waited < frozen/4 {
		t.Errorf("the median of the latencies is %v, want about %v", waited, frozen/2)
	}
}

// TestContextEndsLoad: a server that never answers does not hold the client.
func TestContextEndsLoad(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	tgt := target(t, 2, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := Saturate(ctx, tgt, 10, time.Hour); err == nil {
		t.Error("no error after the end of the context")
	}
}
