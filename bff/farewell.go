package bff

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session"
)

// A drainer is an API in this process that ends its streams itself when the
// process is about to end, as a gateway does.
type drainer interface{ Drain() }

const (
	endEvent = "event: end\nretry: 2000\ndata: {}\n\n"
	endLine  = `{"error":{"code":14,"message":"this server stops; come back","details":[]}}` + "\n"
)

var errFarewell = errors.New("bff: the process is about to end")

// A farewell lets go of streams that an API in another process gives when this
// process is about to end. That API does not end with us, so the last word is
// ours, in the terms of the stream.
type farewell struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	stream string // media type of an answer that lasts
	tail   []byte // what was written last, two bytes at most
	over   bool   // the API itself has said the last word
}

// ask has the API answer a request of a session, or of none.
func (b *BFF) ask(a *apiAnswer, r *http.Request, s *session.Session) {
	if _, drains := b.api.(drainer); drains {
		b.api.ServeHTTP(a, b.outgoing(r.Context(), r, s))
		a.finish()
		return
	}
	f := &farewell{}
	f.ctx, f.cancel = context.WithCancelCause(r.Context())
	defer f.cancel(nil)
	a.tied.farewell = f
	defer func() {
		p := recover()
		if context.Cause(f.ctx) == errFarewell && (p == nil || p == http.ErrAbortHandler) && f.say(a) {
			return
		}
		if p != nil {
			panic(p)
		}
	}()
	b.api.ServeHTTP(a, b.outgoing(f.ctx, r, s))
	a.finish()
}

// begin is called before the header of a stream is sent.
func (f *farewell) begin(h http.Header, leaving <-chan struct{}) {
	f.stream = strings.ToLower(h.Get("Content-Type"))
	h.Set("X-Accel-Buffering", "no") // nginx would keep messages until they are many
	go func() {
		select {
		case <-leaving:
			f.cancel(errFarewell)
		case <-f.ctx.Done():
		}
	}()
}

// say says the last word, unless the stream stands in the midst of a message
// or has no such word.
func (f *farewell) say(a *apiAnswer) bool {
	word, boundary := "", ""
	switch {
	case f.over:
		return true
	case strings.HasPrefix(f.stream, "text/event-stream"):
		word, boundary = endEvent, "\n\n"
	case strings.HasPrefix(f.stream, "application/x-ndjson"):
		word, boundary = endLine, "\n"
	}
	if word == "" || len(f.tail) > 0 && !bytes.HasSuffix(f.tail, []byte(boundary)) {
		return false
	}
	_, err := a.Write([]byte(word))
	return err == nil
}

// written notes where the stream stands.
func (f *farewell) written(p []byte) {
	if f.stream == "" || len(p) == 0 {
		return
	}
	f.tail = append(f.tail, p[max(0, len(p)-2):]...)
	f.tail = f.tail[max(0, len(f.tail)-2):]
	f.over = bytes.Contains(p, []byte("event: end\n")) || bytes.Contains(p, []byte("event: error\n"))
}
