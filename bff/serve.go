package bff

import (
	"log/slog"
	"net/http"
	"time"
)

const (
	maxHeaderBytes    = 1 << 20 // all cookies that a browser keeps for a domain: what to do about them is ours to say
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	// restPatience is how long the rest of a body may take to arrive that
	// nobody has read.
	restPatience = 5 * time.Second
	// formPatience is how long a provider's form may take to arrive.
	formPatience = 10 * time.Second
)

// Server returns an HTTP server for the bff, without an address, with the
// limits that net/http leaves open: on a header's size and time, and on idle
// connections. When it shuts down, it ends the event streams of sessions,
// which would go on for hours. A request that is answered by the API or the front end takes as
// long as these let it.
func (b *BFF) Server() *http.Server {
	server := &http.Server{
		Handler:           b,
		MaxHeaderBytes:    maxHeaderBytes,
		ReadHeaderTimeout: readHeaderTimeout,
		IdleTimeout:       idleTimeout,
		ErrorLog:          slog.NewLogLogger(b.logger.Handler(), slog.LevelWarn),
	}
	server.RegisterOnShutdown(b.goodbye)
	return server
}

// boundBody is for when a request has been answered. net/http reads what is
// left of a body, so that the connection can be used again, and would wait for
// it without end.
func boundBody(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength != 0 && r.ProtoMajor == 1 {
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(restPatience))
	}
}

// readForm reads the form that a provider has sent, of max bytes.
func readForm(w http.ResponseWriter, r *http.Request, max int64) error {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(formPatience)) // where there is none, there is no connection
	r.Body = http.MaxBytesReader(w, r.Body, max)
	err := r.ParseForm()
	if err == nil {
		_ = control.SetReadDeadline(time.Time{})
	}
	return err
}
