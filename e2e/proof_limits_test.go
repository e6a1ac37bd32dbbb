//go:build proof

package e2e

import (
	"bufio"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/net/http2"
	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
	"github.com/gatehouse-dev/gatehouse/internal/test/redistest"
)

const (
	uploadBytes   = 100_000_000
	uploadAhead   = 16 << 20 // limit for what was sent and has not arrived: socket buffers, up to 6 MiB each on Linux
	uploadMemory  = 8 << 20  // limit for the growth of resident memory
	loginCount    = 100_000
	loginRows     = 10       // limit for the growth of a store
	loginMemory   = 64 << 20 // limit for the growth of resident memory in the first half, with 50,000 addresses
	loginMore     = 16 << 20 // the same in the second half
	headerConns   = 300
	headerBytes   = 1_000_000
	headersMemory = 256 << 20 // limit for the growth of resident memory, less than is sent
)

// limited starts `gatehouse serve` with a base URL on the address of the bff.
func limited(t *testing.T, store string, env ...string) (p *process, bff, gateway, grpc string) {
	t.Helper()
	bff, gateway, grpc = freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(bff)
	_, settings, _ := startGated(t, base, time.Hour)
	p = gatehouse(t, append(append(settings, "GATEHOUSE_LISTEN_BFF="+bff, "GATEHOUSE_LISTEN_GATEWAY="+gateway, "GATEHOUSE_LISTEN_GRPC="+grpc,
		"GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_SESSION_STORE="+store), env...), "serve")
	p.ready(t, base+"/readyz")
	return p, bff, gateway, grpc
}

// growth returns by how much the resident memory grew at most while do ran.
func growth(t *testing.T, p *process, do func()) (grown int64) {
	t.Helper()
	before := resident(t, p)
	stop, peak := make(chan struct{}), make(chan int64, 1)
	go func() { peak <- peakResident(p, stop) }()
	defer func() { grown = max(<-peak, resident(t, p)) - before }()
	defer close(stop)
	do()
	return 0 // set above
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }

// TestProofUpload sends 100 MB through the bff to a front-end server, which counts the bytes. The
// client stops halfway until the front-end server has that half.
func TestProofUpload(t *testing.T) {
	var arrived atomic.Int64
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		part := make([]byte, 32<<10)
		for {
			n, err := r.Body.Read(part)
			arrived.Add(int64(n))
			if errors.Is(err, io.EOF) {
				return
			} else if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
		}
	}))
	t.Cleanup(front.Close)
	p, bff, _, _ := limited(t, "memory:", "GATEHOUSE_FRONTEND="+front.URL)
	base := "http://localhost:" + portOf(bff)
	upload := func(size, length int64) (ahead int64, status string) {
		arrived.Store(0)
		body, w := io.Pipe()
		sent := make(chan int64, 1)
		go func() {
			part := make([]byte, 64<<10)
			var n, most int64
			for n < size {
				k, err := w.Write(part[:min(int64(len(part)), size-n)])
				if n += int64(k); err != nil {
					break
				}
				most = max(most, n-arrived.Load())
				if n < size/2 || n-int64(k) >= size/2 {
					continue
				}
				for end := time.Now().Add(patience); arrived.Load() < n && time.Now().Before(end); {
					time.Sleep(time.Millisecond) // the client pauses; what it has sent must arrive
				}
				if arrived.Load() < n {
					most = size
				}
			}
			_ = w.Close()
			sent <- most
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+"/upload", body)
		if err != nil {
			t.Fatal(err)
		}
		req.ContentLength = length
		req.Header.Set("Origin", base)
		req.Header.Set("Sec-Fetch-Site", "same-origin")
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		return <-sent, res.Status
	}
	upload(1<<20, 1<<20) // connections and buffers
	var rows [][]string
	for _, c := range []struct {
		name   string
		length int64
	}{{"with a length", uploadBytes}, {"chunked", -1}} {
		var ahead int64
		var status string
		began := time.Now()
		grown := growth(t, p, func() { ahead, status = upload(uploadBytes, c.length) })
		took := time.Since(began)
		rows = append(rows, []string{c.name, strconv.FormatInt(arrived.Load(), 10), mib(ahead), mib(grown), fmt.Sprintf("%.1f s", took.Seconds())})
		if status != "200 OK" || arrived.Load() != uploadBytes || ahead > uploadAhead || grown > uploadMemory {
			t.Errorf("%s: %s, %d bytes arrived, at most %s behind, memory %s; want 200, %d, at most %s and %s",
				c.name, status, arrived.Load(), mib(ahead), mib(grown), uploadBytes, mib(uploadAhead), mib(uploadMemory))
		}
	}
	proof.Report(t, proof.Section{
		Title: "Uploads",
		Text: fmt.Sprintf("%d MB through the bff of a `gatehouse serve` to a front-end server, which counts the bytes. The client pauses halfway until what it has sent is there. "+
			"Limits: %s sent and not arrived, %s more resident memory at the peak.", uploadBytes/1_000_000, mib(uploadAhead), mib(uploadMemory)),
		Columns: []string{"body", "bytes arrived", "sent and not arrived, at most", "growth", "time"},
		Rows:    rows,
	})
}

// TestProofAbandonedLogins starts 100,000 logins, each from another address, and continues none.
func TestProofAbandonedLogins(t *testing.T) {
	var rows [][]string
	for _, store := range []struct {
		name  string
		begin func(t *testing.T) (address string, count func() int)
	}{
		{"memory", func(*testing.T) (string, func() int) { return "memory:", nil }},
		{"SQLite", func(t *testing.T) (string, func() int) {
			file := filepath.Join(t.TempDir(), "sessions.db")
			return "sqlite:" + file, func() (n int) {
				db, err := sql.Open("sqlite", file)
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				if err := db.QueryRowContext(t.Context(), "SELECT (SELECT count(*) FROM sessions) + (SELECT count(*) FROM session_notes)").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}},
		{"Redis", func(t *testing.T) (string, func() int) {
			server := redistest.Start(t)
			return "redis://" + server.Addr(), func() int {
				n, err := strconv.Atoi(strings.TrimSpace(server.Do(t, "DBSIZE")))
				if err != nil {
					t.Fatal(err)
				}
				return n
			}
		}},
		{"PostgreSQL", func(t *testing.T) (string, func() int) {
			url := pgtest.Start(t).New(t)
			return url, func() (n int) {
				conn, err := pgx.Connect(t.Context(), url)
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close(t.Context())
				if err := conn.QueryRow(t.Context(), "SELECT (SELECT count(*) FROM gatehouse_sessions) + (SELECT count(*) FROM gatehouse_session_notes)").Scan(&n); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}},
	} {
		t.Run(store.name, func(t *testing.T) {
			address, count := store.begin(t)
			p, bff, _, _ := limited(t, address, "GATEHOUSE_TRUSTED_PROXIES=127.0.0.1,::1")
			client := &http.Client{
				Transport:     &http.Transport{MaxIdleConnsPerHost: 8},
				CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
			}
			defer client.CloseIdleConnections()
			login := func(ctx context.Context, i int) error {
				req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost:"+portOf(bff)+"/api/auth/login", nil)
				if err != nil {
					return err
				}
				req.Header.Set("X-Forwarded-For", fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255))
				res, err := client.Do(req)
				if err != nil {
					return err
				}
				defer res.Body.Close()
				if _, err := io.Copy(io.Discard, res.Body); err != nil || res.StatusCode/100 != 3 || len(res.Cookies()) == 0 {
					return fmt.Errorf("login: %s, %d cookies, %v", res.Status, len(res.Cookies()), err)
				}
				return nil
			}
			start := func(from, to int) {
				group, ctx := errgroup.WithContext(t.Context())
				group.SetLimit(8)
				for i := from; i < to; i++ {
					group.Go(func() error { return login(ctx, i) })
				}
				if err := group.Wait(); err != nil {
					t.Fatal(err)
				}
			}
			start(0, 1000) // connections and caches
			before, after := 0, 0
			if count != nil {
				before = count()
			}
			began := time.Now()
			const half = 1000 + loginCount/2
			first := growth(t, p, func() { start(1000, half) })
			second := growth(t, p, func() { start(half, 1000+loginCount) })
			took := time.Since(began)
			cells := []string{"-", "-"}
			if count != nil {
				after = count()
				cells = []string{strconv.Itoa(before), strconv.Itoa(after)}
			}
			rows = append(rows, append(append([]string{store.name}, cells...), mib(first), mib(second), fmt.Sprintf("%.0f s", took.Seconds())))
			if after-before > loginRows || first > loginMemory || second > loginMore {
				t.Errorf("%d logins: %d rows before, %d after, memory %s and %s; want at most %d more, %s and %s",
					loginCount, before, after, mib(first), mib(second), loginRows, mib(loginMemory), mib(loginMore))
			}
		})
	}
	proof.Report(t, proof.Section{
		Title: "Abandoned logins",
		Text: fmt.Sprintf("%d logins are started at one `gatehouse serve`, each from another client address, and none is continued; 1,000 came before. Rows are those of all tables of the "+
			"session store, at Redis all keys. Growth is that of resident memory at the peak: in the first half, which fills the 50,000 addresses that are remembered for the login rate, and in "+
			"the second. Limits: %d more rows, %s and %s.",
			loginCount, loginRows, mib(loginMemory), mib(loginMore)),
		Columns: []string{"session store", "rows before", "rows after", "growth, first half", "growth, second half", "time"},
		Rows:    rows,
	})
}

// TestProofHeaders sends 1 MB of header on each of 300 connections at the same time.
func TestProofHeaders(t *testing.T) {
	p, bff, gateway, grpc := limited(t, "memory:")
	cookie := "Cookie: a=" + random(headerBytes)
	large := "X-Large: " + random(headerBytes)
	small := "X-%d: " + random(990)
	var many strings.Builder
	for i := range headerBytes / 1000 {
		fmt.Fprintf(&many, small+"\r\n", i)
	}
	request := func(header string) func(net.Conn, *sync.WaitGroup) string {
		return func(c net.Conn, all *sync.WaitGroup) string {
			go func() {
				_, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: localhost\r\n"+header)
				all.Done()
				if err == nil {
					all.Wait()
					_, _ = io.WriteString(c, "\r\n\r\n")
				}
			}()
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				return "closed"
			}
			_ = res.Body.Close()
			return strconv.Itoa(res.StatusCode)
		}
	}
	var rows [][]string
	for _, c := range []struct {
		name, address string
		send          func(net.Conn, *sync.WaitGroup) string
	}{
		{"bff, one field", bff, request(large)},
		{"bff, 1,000 fields", bff, request(strings.TrimSuffix(many.String(), "\r\n"))},
		{"bff, a cookie", bff, request(cookie)},
		{"gateway, one field", gateway, request(large)},
		{"server, metadata of a call", grpc, func(c net.Conn, all *sync.WaitGroup) string {
			framer := preface(c)
			go func() {
				defer all.Done()
				if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock(":method", "POST", ":scheme", "http", ":path", "/x", ":authority", "x")}) != nil {
					return
				}
				part := headerBlock("x-large", small)
				for sent := 0; sent < headerBytes; sent += len(part) {
					if framer.WriteContinuation(1, sent+len(part) >= headerBytes, part) != nil {
						return
					}
				}
			}()
			for answers := http2.NewFramer(nil, c); ; {
				f, err := answers.ReadFrame()
				if err != nil {
					return "closed"
				}
				switch f := f.(type) {
				case *http2.RSTStreamFrame:
					return "stream reset"
				case *http2.GoAwayFrame:
					return "closed"
				case *http2.HeadersFrame:
					return fmt.Sprintf("response on stream %d", f.StreamID)
				}
			}
		}},
	} {
		answers := map[string]int{}
		grown := growth(t, p, func() {
			var mu sync.Mutex
			var sent, all sync.WaitGroup
			sent.Add(headerConns)
			for range headerConns {
				all.Go(func() {
					conn, err := net.Dial("tcp", c.address)
					if err != nil {
						sent.Done()
						t.Error(err)
						return
					}
					defer conn.Close()
					_ = conn.SetDeadline(time.Now().Add(patience))
					answer := c.send(conn, &sent)
					mu.Lock()
					defer mu.Unlock()
					answers[answer]++
				})
			}
			all.Wait()
		})
		rows = append(rows, []string{c.name, strconv.Itoa(answers["431"]), strconv.Itoa(answers["closed"]), strconv.Itoa(answers["stream reset"]), mib(grown)})
		if refused := answers["431"] + answers["closed"] + answers["stream reset"]; refused != headerConns || grown > headersMemory {
			t.Errorf("%s: %v, memory %s; want 431 or the end of %d, and at most %s", c.name, answers, mib(grown), headerConns, mib(headersMemory))
		}
	}
	proof.Report(t, proof.Section{
		Title: "Large headers",
		Text: fmt.Sprintf("%d connections at once, none of which is signed in, each with a header of %d MB at one `gatehouse serve`; each sends the end of it when all have sent the rest or were closed. "+
			"They come in this order; growth is from what the one before has left. Limit: %s more resident memory at the peak.", headerConns, headerBytes/1_000_000, mib(headersMemory)),
		Columns: []string{"header", "431", "closed", "stream reset", "growth"},
		Rows:    rows,
	})
}

func random(n int) string {
	b := make([]byte, n/2)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
