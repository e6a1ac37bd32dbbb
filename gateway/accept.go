package gateway

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const (
	typeJSON    = "application/json"
	typeProblem = "application/problem+json" // RFC 9457
	typeNDJSON  = "application/x-ndjson"
	typeEvents  = "text/event-stream"
)

// mediaTypes names what the route's answers can be, for people.
func (rt *route) mediaTypes() string {
	if rt.stream {
		return typeNDJSON + " or " + typeEvents
	}
	return typeJSON
}

// acceptable reports whether a client accepts what the route answers. Of an
// HttpBody route only the service knows the type. Who accepts problem details
// accepts JSON: it says how errors are to look.
func (rt *route) acceptable(h http.Header) bool {
	accepted := h["Accept"]
	if rt.raw || len(accepted) == 0 || len(accepted) == 1 && (accepted[0] == "*/*" || accepted[0] == typeJSON && !rt.stream) {
		return true
	}
	ranges := acceptedRanges(accepted)
	switch {
	case len(ranges) == 0:
		return true
	case rt.stream:
		return quality(ranges, typeNDJSON) > 0 || quality(ranges, typeEvents) > 0
	}
	return quality(ranges, typeJSON) > 0 || explicitQuality(ranges, typeProblem) > 0
}

// wantsEvents reports whether a stream is to be server-sent events: liked
// better than JSON lines, or as much and asked for by name.
func wantsEvents(h http.Header) bool {
	ranges := acceptedRanges(h["Accept"])
	events, lines := quality(ranges, typeEvents), quality(ranges, typeNDJSON)
	return events > lines || events == lines && explicitQuality(ranges, typeEvents) > 0
}

// wantsProblem reports whether errors are to be application/problem+json:
// asked for by that name, and no less than plain JSON.
func wantsProblem(h http.Header) bool {
	accepted := h["Accept"]
	if len(accepted) == 0 || len(accepted) == 1 && (accepted[0] == "*/*" || accepted[0] == typeJSON) {
		return false
	}
	ranges := acceptedRanges(accepted)
	problem := explicitQuality(ranges, typeProblem)
	return problem > 0 && problem >= explicitQuality(ranges, typeJSON)
}

// mediaRange is one element of an Accept header, RFC 9110 §12.5.1.
type mediaRange struct {
	mediaType string // "text/html", "text/*", "*/*"
	quality   float64
}

// acceptedRanges parses Accept, leaving out what is malformed.
func acceptedRanges(values []string) []mediaRange {
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

// quality is that of the most specific range which matches a type; 0 is no.
func quality(ranges []mediaRange, mediaType string) float64 {
	major, _, _ := strings.Cut(mediaType, "/")
	for _, wanted := range []string{mediaType, major + "/*", "*/*"} {
		for _, r := range ranges {
			if r.mediaType == wanted {
				return r.quality
			}
		}
	}
	return 0
}

// explicitQuality is the quality of a type that is named without a wildcard.
func explicitQuality(ranges []mediaRange, mediaType string) float64 {
	for _, r := range ranges {
		if r.mediaType == mediaType {
			return r.quality
		}
	}
	return 0
}
