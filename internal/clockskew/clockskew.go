// Package clockskew owns the comparison of this machine's clock with that of an HTTP
// server, by the Date header of a response. It leaves what difference matters to the
// caller.
package clockskew

import (
	"net/http"
	"time"
)

// Of returns how far the server's clock is ahead of ours, from a response that came
// between two times; negative if it is behind. A difference that the time of the
// request and the whole seconds of the header explain is zero. known is false without a
// Date, and for a response from a cache, whose Date is older.
func Of(header http.Header, sent, received time.Time) (ahead time.Duration, known bool) {
	theirs, err := http.ParseTime(header.Get("Date"))
	if err != nil || header.Get("Age") != "" {
		return 0, false
	}
	switch {
	case theirs.Before(sent.Add(-time.Second)):
		return theirs.Sub(sent), true
	case theirs.After(received):
		return theirs.Sub(received), true
	}
	return 0, true
}
