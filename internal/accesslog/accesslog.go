// Package accesslog owns the one line that each HTTP request has in the log of a
// process, whichever parts it passes there, and the request id that connects the
// lines of several processes. It leaves all other log lines to the parts.
package accesslog

import (
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/requestid"
)

// Wrap returns a middleware that gives each request an id (the client's if it is
// safe to log, otherwise a new one), sends it in the answer, and logs one line when
// the request has ended: method, path, status, bytes, duration, whether the answer
// was cut off, and what the parts behind have added. Query, headers and bodies are
// never logged: they contain codes, tokens and names.
func Wrap(logger *slog.Logger) func(http.Handler) http.Handler {
	return func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start := time.Now()
			id := requestid.Keep(r.Header.Get(requestid.Header))
			ctx, line := Begin(requestid.NewContext(r.Context(), id), logger)
			w.Header().Set(requestid.Header, id)
			answer := &recorder{ResponseWriter: w}
			whole := false
			defer func() {
				if !whole { // a panic has cut the connection
					line.Add(slog.LevelInfo, slog.Bool("aborted", true))
				}
				status := answer.status
				if status == 0 { // nothing was written: net/http answers 200, or cuts the connection
					status = http.StatusOK
				}
				line.Write(ctx, logger,
					slog.String("method", r.Method),
					slog.String("path", r.URL.Path),
					slog.Int("status", status),
					slog.Int64("bytes", answer.bytes),
					slog.Duration("duration", time.Since(start)),
				)
			}()
			next.ServeHTTP(answer, r.WithContext(ctx))
			whole = true
		})
	}
}

type recorder struct {
	http.ResponseWriter
	status int
	bytes  int64
}

func (w *recorder) WriteHeader(status int) {
	if w.status < 200 { // informational answers come before the real one
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *recorder) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(p)
	w.bytes += int64(n)
	return n, err
}

// Unwrap is for http.ResponseController.
func (w *recorder) Unwrap() http.ResponseWriter { return w.ResponseWriter }
