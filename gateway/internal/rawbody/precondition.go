package rawbody

import (
	"net/http"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/condition"
)

// bodiless reports whether the answer may have no content: to HEAD, or to a request
// with conditions.
func (a *Answer) bodiless() bool {
	h := a.x.Request.Header
	return a.x.Request.Method == http.MethodHead || a.conditions != nil || h["If-Modified-Since"] != nil || h["If-Unmodified-Since"] != nil
}

// precondition evaluates the conditions of a GET, in the order of RFC 9110 §13.2.2,
// with the validators in the header of the answer. It answers with 412 or 304 and
// reports whether it has.
func (a *Answer) precondition(md metadata.MD) bool {
	x, h := a.x, a.x.Header()
	if method := x.Request.Method; method != http.MethodGet && method != http.MethodHead {
		return false
	}
	tag, of := h.Get("Etag"), x.Request.Header
	modified, err := http.ParseTime(h.Get("Last-Modified"))
	dated := err == nil
	switch {
	case a.conditions.Mismatched(tag),
		of["If-Match"] == nil && dated && later(modified, of.Get("If-Unmodified-Since")):
		refused := condition.Refusal()
		a.Refuse(refused, md)
		x.Refuse(refused)
	case tag != "" && a.conditions.NotModified(tag),
		of["If-None-Match"] == nil && dated && notLater(modified, of.Get("If-Modified-Since")):
		h.Del("Content-Type")
		x.WriteHeader(http.StatusNotModified)
	default:
		return false
	}
	x.Done = true
	return true
}

// later reports whether a time is after the date in a header field, and notLater the
// opposite. Both are false for a field that has no date.
func later(t time.Time, field string) bool {
	date, err := http.ParseTime(field)
	return err == nil && t.After(date)
}

func notLater(t time.Time, field string) bool {
	date, err := http.ParseTime(field)
	return err == nil && !t.After(date)
}
