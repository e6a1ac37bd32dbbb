package account

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/accesslog"
)

// patience is how long a client may take to read an event.
const patience = 30 * time.Second

// A connection is that of a stream over HTTP/1.1, taken over from net/http. Each request of
// net/http holds two buffers of 4 KB, one of 2 KB, the request, and two goroutines of
// which one has the stack of all handlers: 44 KB in all. A stream needs none of them after
// its header, and may last for days.
type connection struct {
	conn net.Conn
	ctx  context.Context // ends when the client has closed the connection
	stop context.CancelFunc
	end  func(bytes int64) // of the request, for log and metrics
	sent int64             // bytes of the body
}

// takeOver sends the header of w and takes over the connection; it returns nil, and sends
// nothing, if it cannot. Another request on the connection ends the stream.
func takeOver(w http.ResponseWriter, r *http.Request) *connection {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || r.ContentLength != 0 {
		return nil
	}
	conn, end, err := accesslog.TakeOver(r.Context(), w, http.StatusOK)
	if err != nil {
		return nil
	}
	c := &connection{conn: conn, end: end}
	c.ctx, c.stop = context.WithCancel(context.WithoutCancel(r.Context()))
	header := w.Header()
	header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	header.Set("Connection", "close")
	header.Set("Transfer-Encoding", "chunked") // tells a whole stream from one that was cut
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = header.Write(&b) // a Buffer has no errors
	b.WriteString("\r\n")
	if c.write(b.String()) != nil {
		c.stop() // the stream then ends with its first event
	}
	go c.watch()
	return c
}

// watch waits until the client closes the connection.
func (c *connection) watch() {
	defer c.stop()
	_, _ = c.conn.Read(make([]byte, 1)) // a byte begins another request
}

// send sends a part of the body.
func (c *connection) send(text string) error {
	c.sent += int64(len(text))
	return c.write(fmt.Sprintf("%x\r\n%s\r\n", len(text), text))
}

func (c *connection) write(text string) error {
	if err := c.conn.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, err := c.conn.Write([]byte(text))
	return err
}

// close ends the body and the connection.
func (c *connection) close() {
	_ = c.write("0\r\n\r\n") // a client that is gone misses it
	c.stop()
	_ = c.conn.Close()
	c.end(c.sent)
}
