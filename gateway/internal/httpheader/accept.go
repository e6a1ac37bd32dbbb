package httpheader

import (
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Media types of answers.
const (
	JSON    = "application/json"
	Problem = "application/problem+json" // RFC 9457
	NDJSON  = "application/x-ndjson"
	Events  = "text/event-stream"
)

// Accepts reports whether Accept allows one of the media types. Problem counts
// only if Accept names it: application/problem+json asks for a form of errors
// and is accepted beside JSON.
func Accepts(h http.Header, types ...string) bool {
	ranges := acceptRanges(h["Accept"])
	if len(ranges) == 0 {
		return true
	}
	return slices.ContainsFunc(types, func(mediaType string) bool {
		return quality(ranges, mediaType) > 0 || mediaType == JSON && explicitQuality(ranges, Problem) > 0
	})
}

// WantsEvents reports whether Accept prefers server-sent events to JSON lines:
// by a higher quality, or by an equal one and by name.
func WantsEvents(h http.Header) bool {
	ranges := acceptRanges(h["Accept"])
	events, lines := quality(ranges, Events), quality(ranges, NDJSON)
	return events > lines || events == lines && explicitQuality(ranges, Events) > 0
}

// WantsProblem reports whether Accept asks for errors as
// application/problem+json: by name, with a quality not below that of JSON.
func WantsProblem(h http.Header) bool {
	ranges := acceptRanges(h["Accept"])
	problem := explicitQuality(ranges, Problem)
	return problem > 0 && problem >= explicitQuality(ranges, JSON)
}

// mediaRange is one element of an Accept header, RFC 9110 §12.5.1.
type mediaRange struct {
	mediaType string // "text/html", "text/*", "*/*"
	quality   float64
}

// acceptRanges parses Accept and skips malformed elements.
func acceptRanges(values []string) []mediaRange {
	switch {
	case len(values) == 0, len(values) == 1 && values[0] == "*/*": // most requests
		return nil
	case len(values) == 1 && values[0] == JSON:
		return onlyJSON
	}
	var ranges []mediaRange
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			mediaType, params, err := mime.ParseMediaType(element)
			if err != nil || !strings.Contains(mediaType, "/") {
				continue
			}
			q := 1.0
			if text, ok := params["q"]; ok {
				if q, err = strconv.ParseFloat(text, 64); err != nil || !(0 <= q && q <= 1) {
					continue
				}
			}
			ranges = append(ranges, mediaRange{mediaType, q})
		}
	}
	return ranges
}

var onlyJSON = []mediaRange{{JSON, 1}}

// quality returns the quality of the most specific range that matches a media
// type, 0 if none does.
func quality(ranges []mediaRange, mediaType string) float64 {
	major, _, _ := strings.Cut(mediaType, "/")
	return explicitQuality(ranges, mediaType, major+"/*", "*/*")
}

// explicitQuality returns the quality of the range with the first of the names that
// occurs, 0 if none does.
func explicitQuality(ranges []mediaRange, names ...string) float64 {
	for _, name := range names {
		for _, r := range ranges {
			if r.mediaType == name {
				return r.quality
			}
		}
	}
	return 0
}
