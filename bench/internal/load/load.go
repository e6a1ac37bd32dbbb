//go:build linux

package load

import (
	"bufio"
	"context"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A Target is a server with a request for each connection.
type Target struct {
	Address  string
	Requests [][]byte
}

// A Result is what a load has measured.
type Result struct {
	Elapsed   time.Duration // from the first request to the last response
	Latencies []time.Duration
}

// Saturate sends up to n requests, until the time limit. Each connection sends the next request after
// the response.
func Saturate(ctx context.Context, t Target, n int, limit time.Duration) (Result, error) {
	var sent atomic.Int64
	return run(ctx, t, n, func(ctx context.Context, c *connection, began time.Time) error {
		for at := began; at.Sub(began) < limit && sent.Add(1) <= int64(n); {
			if err := c.ask(ctx); err != nil {
				return err
			}
			now := time.Now()
			c.latencies = append(c.latencies, now.Sub(at))
			at = now
		}
		return nil
	})
}

// Constant sends requests at a constant rate for a time. The latency of a request counts from when it
// was due, so that one that waits for a free connection counts its waiting (coordinated omission).
func Constant(ctx context.Context, t Target, perSecond float64, d time.Duration) (Result, error) {
	// A goroutine that sleeps in a system call keeps a P for a while.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(len(t.Requests) + 2))
	n := max(1, int(perSecond*d.Seconds()))
	interval := float64(time.Second) / perSecond
	var next atomic.Int64
	return run(ctx, t, n, func(ctx context.Context, c *connection, began time.Time) error {
		for {
			i := next.Add(1) - 1
			if i >= int64(n) {
				return nil
			}
			due := began.Add(time.Duration(float64(i) * interval))
			if err := sleep(time.Until(due)); err != nil {
				return err
			}
			if err := c.ask(ctx); err != nil {
				return err
			}
			c.latencies = append(c.latencies, time.Since(due))
		}
	})
}

// sleep sleeps more exactly than time.Sleep, which may add a millisecond.
func sleep(d time.Duration) error {
	if d <= 0 {
		return nil
	}
	if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil { // of the thread, ns
		return err
	}
	t := unix.NsecToTimespec(d.Nanoseconds())
	for {
		if err := unix.Nanosleep(&t, &t); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// A connection is one of a client's.
type connection struct {
	net.Conn  // nil if it is closed
	address   string
	request   []byte
	r         *bufio.Reader
	body      []byte
	latencies []time.Duration
	cancel    func() bool
}

// ask sends the request. It connects anew if the server has closed the connection after the response
// before, as a browser does.
func (c *connection) ask(ctx context.Context) error {
	if c.Conn == nil {
		if err := c.connect(ctx); err != nil {
			return err
		}
	}
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	closes, err := Receive(c.r, c.body)
	if closes {
		c.close()
	}
	return err
}

func (c *connection) connect(ctx context.Context) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.address)
	if err != nil {
		return err
	}
	c.Conn, c.cancel = conn, context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	c.r.Reset(conn)
	return nil
}

func (c *connection) close() {
	if c.Conn != nil {
		c.cancel()
		_ = c.Conn.Close()
		c.Conn = nil
	}
}

// run connects, and calls work for each connection at the same time. It is about n requests.
func run(ctx context.Context, t Target, n int, work func(context.Context, *connection, time.Time) error) (Result, error) {
	group, ctx := errgroup.WithContext(ctx)
	var connected sync.WaitGroup
	connected.Add(len(t.Requests))
	connections := make([]*connection, len(t.Requests))
	var began time.Time
	start := sync.OnceFunc(func() { began = time.Now() })
	for i, request := range t.Requests {
		group.Go(func() error {
			c := &connection{
				address: t.Address, request: request, r: bufio.NewReaderSize(nil, 16<<10), body: make([]byte, 4096),
				latencies: make([]time.Duration, 0, 2*n/len(t.Requests)+1),
			}
			connections[i] = c
			err := c.connect(ctx)
			connected.Done()
			if err != nil {
				return err
			}
			defer c.close()
			connected.Wait()
			start()
			return work(ctx, c, began)
		})
	}
	if err := group.Wait(); err != nil {
		return Result{}, err
	}
	result := Result{Elapsed: time.Since(began)}
	for _, c := range connections {
		result.Latencies = append(result.Latencies, c.latencies...)
	}
	return result, nil
}
