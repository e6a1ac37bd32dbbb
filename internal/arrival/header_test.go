package arrival_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// serve starts a server whose large headers may hold max bytes, all together.
func serve(t *testing.T, max int64, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewUnstartedServer(arrival.Handler(handler))
	server.Listener = arrival.New(max, time.Now).Listen(server.Listener)
	server.Config.ConnContext = arrival.ConnContext
	server.Start()
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

func TestHeaders(t *testing.T) {
	t.Parallel()
	address := serve(t, 256<<10, func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, n, " ", len(r.Header.Get("X-Large")))
	})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	// Half-sent headers of 100 KiB: two fit, later ones take the place of the oldest or are cut.
	cut := make(chan struct{}, 20)
	for range 20 {
		c := dial()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("a", 100<<10))
		go func() {
			_, _ = io.Copy(io.Discard, c)
			cut <- struct{}{}
		}()
	}
	for range 17 {
		select {
		case <-cut:
		case <-time.After(time.Minute):
			t.Fatal("connections whose headers do not fit are kept")
		}
	}
	// Headers of a usual size never meet the limit; bodies are not counted; a connection is used
	// again and again.
	c := dial()
	answers := bufio.NewReader(c)
	for i := range 40 {
		body := strings.Repeat("b", 100<<10)
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nX-Large: %s\r\nContent-Length: %d\r\n\r\n%s", strings.Repeat("a", 20<<10), len(body), body)
		resp, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("request %d on the connection: %v", i, err)
		}
		got, _ := io.ReadAll(resp.Body)
		if want := "102400 20480"; string(got) != want {
			t.Fatalf("request %d on the connection: got %q, want %q", i, got, want)
		}
	}
}

// A header above what is free arrives where there is room, and what it held is free again.
func TestLargeHeaders(t *testing.T) {
	t.Parallel()
	address := serve(t, 128<<10, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, len(r.Header.Get("X-Large"))) })
	for i := range 20 {
		req, err := http.NewRequest(http.MethodGet, "http://"+address, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Large", strings.Repeat("a", 100<<10))
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		got, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(got) != "102400" {
			t.Errorf("request %d: got %q", i, got)
		}
	}
}
