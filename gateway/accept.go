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
)

// mediaType is what the route's answers are.
func (rt *route) mediaType() string {
	if rt.stream {
		return typeNDJSON
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
	if len(ranges) == 0 || quality(ranges, rt.mediaType()) > 0 {
		return true
	}
	return !rt.stream && explicitQuality(ranges, typeProblem) > 0
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
