// Package retryafter owns the reading of the header Retry-After in responses of
// the provider. It leaves the waiting to its callers.
package retryafter

import (
	"net/http"
	"strconv"
	"time"
)

// Max is the longest wait that Parse returns.
const Max = 5 * time.Minute

// Parse returns how long a response asks to wait, in either form of RFC 9110
// section 10.2.3, at most Max. It is 0 without the header, and for one that
// cannot be parsed.
func Parse(h http.Header, now time.Time) time.Duration {
	value := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 64); err == nil {
		return time.Duration(min(seconds, uint64(Max/time.Second))) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return min(max(at.Sub(now), 0), Max)
	}
	return 0
}
