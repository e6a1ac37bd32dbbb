//go:build proof

package e2e

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/gatehouse-dev/gatehouse/internal/test/proof"
)

const (
	hostileConns  = 1000
	hostileRamp   = 10 * time.Second // to open them
	hostileTime   = 15 * time.Second // to hold them afterwards, while requests are measured
	hostilePause  = 10 * time.Second // before a closed one is opened again
	hostileMemory = 256 << 20        // limit for the growth of resident memory
	hostileFactor = 10               // limit for the growth of the p99 of signed-in requests
)

// TestProofHostile opens 1,000 connections of each kind, which never finish what they begin, to one
// `gatehouse serve`. It measures memory and the response times of a signed-in user meanwhile.
func TestProofHostile(t *testing.T) {
	var (
		bff     = freeAddress(t)
		gateway = freeAddress(t)
		grpc    = freeAddress(t)
		base    = "http://localhost:" + portOf(bff)
	)
	_, env, _ := startGated(t, base, time.Hour)
	p := gatehouse(t, append(env, "GATEHOUSE_LISTEN_BFF="+bff, "GATEHOUSE_LISTEN_GATEWAY="+gateway, "GATEHOUSE_LISTEN_GRPC="+grpc,
		"GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_SESSION_STORE=memory:"), "serve")
	p.ready(t, base+"/readyz")
	f := &fleet{base: base, nodes: []*node{{process: p, address: bff}}}
	user := callerOf(t, f, entersAs(t, base, "seller"))

	const public = "/audioarchive.v1.ProductService/ListProducts"
	const protected = "/audioarchive.v1.StatusService/GetPrivateRoute"
	unknownKey := "Bearer eyJhbGciOiJSUzI1NiIsImtpZCI6Im5vbmUiLCJ0eXAiOiJhdCtqd3QifQ.e30.AAAA"
	attacks := []struct {
		name, address string
		attack        func(c net.Conn)
	}{
		{"gRPC: connect and send nothing", grpc, func(net.Conn) {}},
		{"gRPC: 120 streams, no token, messages of 1 MiB less one byte", grpc, unfinishedCalls(protected, "", 120, 1<<20, 4<<10)},
		{"gRPC: the same at a public method", grpc, unfinishedCalls(public, "", 120, 1<<20, 4<<10)},
		{"gRPC: the same with a token of an unknown key", grpc, unfinishedCalls(protected, unknownKey, 120, 1<<20, 4<<10)},
		{"gRPC: public method, frames of one byte", grpc, unfinishedCalls(public, "", 1, 1<<20, 1)},
		{"gRPC: header blocks that never end", grpc, endlessHeader},
		{"gateway, HTTP/1: half a header of 1 MiB", gateway, halfHeader},
		{"gateway, HTTP/1: body of 1 MiB less one byte", gateway, halfBody("/api/products", 1<<20)},
		{"gateway, HTTP/2: 120 streams, bodies without an end", gateway, unfinishedPosts("/api/products", 120)},
		{"gateway, HTTP/2: header blocks that never end", gateway, endlessHeader},
		{"bff, HTTP/1: half a header of 1 MiB", bff, halfHeader},
		{"bff, HTTP/1: body of 1 MiB less one byte to the API", bff, halfBody("/api/products", 1<<20)},
		{"bff, HTTP/1: back-channel logout, half a form", bff, halfBody("/api/auth/backchannel-logout", 1<<16)},
		{"bff, HTTP/1: WebSocket upgrades", bff, upgrade},
		{"bff, HTTP/1: event streams without a session", bff, eventStream},
	}
	quiet := user.latencies(t, f.nodes[0], hostileTime/2)
	rows := [][]string{{"none", "-", "-", ms(quiet, 50), ms(quiet, 99), "-", "0"}}
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			before := resident(t, p)
			stop := make(chan struct{})
			var all sync.WaitGroup
			for i := range hostileConns {
				all.Go(func() {
					if !pauseOr(stop, time.Duration(i)*hostileRamp/hostileConns) {
						keepAttacking(a.address, a.attack, stop)
					}
				})
			}
			peak := make(chan int64, 1)
			all.Go(func() { peak <- peakResident(p, stop) })
			pauseOr(stop, hostileRamp)
			during := user.latencies(t, f.nodes[0], hostileTime)
			close(stop)
			all.Wait()
			grown := <-peak - before
			factor := float64(during.percentile(99)) / float64(quiet.percentile(99))
			rows = append(rows, []string{
				a.name, fmt.Sprintf("%d MiB", before>>20), fmt.Sprintf("%+d MiB", grown>>20),
				ms(during, 50), ms(during, 99), fmt.Sprintf("%.1f ×", factor), strconv.Itoa(during.failed),
			})
			if grown > hostileMemory || factor > hostileFactor || during.failed > 0 {
				t.Errorf("memory %+d MiB, p99 %.1f × undisturbed, %d requests failed", grown>>20, factor, during.failed)
			}
		})
	}
	proof.Report(t, proof.Section{
		Title: "Hostile connections",
		Text: fmt.Sprintf("%d connections at once for %v each, none of which finishes what it begins; each that is closed is opened anew after %v. They are opened within %v. Meanwhile a "+
			"signed-in user sends one request after another through the bff. Goals: at most %d MiB more resident memory, a p99 of at most %d × the "+
			"undisturbed one. Attacker, user and server share the machine.", hostileConns, hostileTime, hostilePause, hostileRamp, int64(hostileMemory)>>20, hostileFactor),
		Columns: []string{"attack", "memory before", "growth", "p50", "p99", "p99 ÷ undisturbed", "failed requests"},
		Rows:    rows,
	})
}

// pauseOr waits, and reports whether it was stopped.
func pauseOr(stop chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return true
	case <-time.After(d):
		return false
	}
}

// keepAttacking holds one connection, and opens it again some time after it was closed.
func keepAttacking(address string, attack func(net.Conn), stop chan struct{}) {
	for {
		c, err := net.Dial("tcp", address)
		if err == nil {
			closed := make(chan struct{})
			go func() {
				_, _ = io.Copy(io.Discard, c)
				close(closed)
			}()
			go attack(c)
			select {
			case <-stop:
			case <-closed:
			}
			_ = c.Close()
			<-closed
		}
		if pauseOr(stop, hostilePause) {
			return
		}
	}
}

func preface(c net.Conn) *http2.Framer {
	_, _ = io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, nil)
	_ = framer.WriteSettings()
	return framer
}

func headerBlock(fields ...string) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i+1] != "" {
			_ = encoder.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
	}
	return block.Bytes()
}

func unfinishedCalls(method, authorization string, streams, size, frame int) func(net.Conn) {
	block := headerBlock(":method", "POST", ":scheme", "http", ":path", method, ":authority", "x",
		"content-type", "application/grpc", "te", "trailers", "authorization", authorization)
	start := binary.BigEndian.AppendUint32([]byte{0}, uint32(size))
	return func(c net.Conn) {
		framer := preface(c)
		for i := range streams {
			id := uint32(2*i + 1)
			if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil || framer.WriteData(id, false, start) != nil {
				return
			}
		}
		part := make([]byte, frame)
		for sent := 0; sent < 8<<10; sent += len(part) { // within the window of each stream
			for i := range streams {
				if framer.WriteData(uint32(2*i+1), false, part) != nil {
					return
				}
			}
		}
	}
}

func endlessHeader(c net.Conn) {
	framer := preface(c)
	part := bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 3000) // literals without indexing
	if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: headerBlock(":method", "POST", ":scheme", "http", ":path", "/", ":authority", "x")}) != nil {
		return
	}
	for range 200 {
		if framer.WriteContinuation(1, false, part) != nil {
			return
		}
	}
}

func halfHeader(c net.Conn) {
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("a", 1<<20-1024))
}

func halfBody(path string, size int) func(net.Conn) {
	return func(c net.Conn) {
		kind := "application/json"
		if strings.Contains(path, "/auth/") {
			kind = "application/x-www-form-urlencoded"
		}
		_, _ = fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", path, kind, size, strings.Repeat("a", size-1))
	}
}

func unfinishedPosts(path string, streams int) func(net.Conn) {
	block := headerBlock(":method", "POST", ":scheme", "http", ":path", path, ":authority", "localhost", "content-type", "application/json")
	return func(c net.Conn) {
		framer := preface(c)
		for i := range streams {
			id := uint32(2*i + 1)
			if framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true}) != nil || framer.WriteData(id, false, make([]byte, 16<<10)) != nil {
				return
			}
		}
	}
}

func upgrade(c net.Conn) {
	_, _ = io.WriteString(c, "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"+
		"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nX-Large: "+strings.Repeat("a", 16<<10)+"\r\n\r\n")
}

func eventStream(c net.Conn) {
	_, _ = io.WriteString(c, "GET /api/auth/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nX-Large: "+strings.Repeat("a", 16<<10)+"\r\n\r\n")
}

// latencyRun holds the durations of requests, shortest first.
type latencyRun struct {
	took   []time.Duration
	failed int
}

func (l *latencyRun) percentile(p int) time.Duration {
	return l.took[min(len(l.took)*p/100, len(l.took)-1)]
}

func ms(l *latencyRun, p int) string {
	return fmt.Sprintf("%.2f ms", float64(l.percentile(p))/float64(time.Millisecond))
}

// latencies sends one request after another for a while.
func (c *caller) latencies(t *testing.T, n *node, d time.Duration) *latencyRun {
	t.Helper()
	run := &latencyRun{}
	for end := time.Now().Add(d); time.Now().Before(end); {
		began := time.Now()
		resp, _, err := c.get(t.Context(), n, "/api/private-route")
		run.took = append(run.took, time.Since(began))
		if err != nil || resp.StatusCode != http.StatusOK {
			run.failed++
		}
	}
	slices.Sort(run.took)
	return run
}

func resident(t *testing.T, p *process) int64 {
	t.Helper()
	n, err := residentBytes(p)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func residentBytes(p *process) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, after, _ := strings.Cut(string(status), "VmRSS:")
	kib, err := strconv.ParseInt(strings.Fields(after)[0], 10, 64)
	return kib << 10, err
}

// peakResident returns the largest resident memory until stop.
func peakResident(p *process, stop chan struct{}) (peak int64) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if n, err := residentBytes(p); err == nil {
			peak = max(peak, n)
		}
		select {
		case <-stop:
			return peak
		case <-tick.C:
		}
	}
}
