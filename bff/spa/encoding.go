package spa

import (
	"io/fs"
	"strconv"
	"strings"
)

// encodings are those that a build may write beside a file, best first.
var encodings = []struct{ name, suffix string }{
	{"br", ".br"}, {"zstd", ".zst"}, {"gzip", ".gz"},
}

// negotiate chooses the best encoding of a file that exists and that the browser
// accepts. some reports whether any encoding exists.
func negotiate(files fs.FS, name string, accept []string) (encoding, suffix string, some bool) {
	var weights map[string]float64
	best := 0.0
	for _, e := range encodings {
		if info, err := fs.Stat(files, name+e.suffix); err != nil || !info.Mode().IsRegular() {
			continue
		}
		if some = true; weights == nil {
			weights = parseAccept(accept)
		}
		if q := weight(weights, e.name); q > best {
			encoding, suffix, best = e.name, e.suffix, q
		}
	}
	if q, ok := weights["identity"]; ok && q > best { // preferred to those that exist
		return "", "", some
	}
	return encoding, suffix, some
}

func weight(weights map[string]float64, encoding string) float64 {
	if q, ok := weights[encoding]; ok {
		return q
	}
	return weights["*"]
}

// parseAccept returns the weights in Accept-Encoding (RFC 9110 §12.5.3). A weight
// that cannot be parsed is 0.
func parseAccept(lines []string) map[string]float64 {
	weights := map[string]float64{}
	for _, line := range lines {
		for item := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(item, ";")
			name = strings.ToLower(strings.TrimSpace(name))
			if name == "" {
				continue
			}
			q := 1.0
			if key, value, ok := strings.Cut(parameters, "="); ok && strings.EqualFold(strings.TrimSpace(key), "q") {
				parsed, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
				if err != nil || !(parsed >= 0 && parsed <= 1) {
					parsed = 0
				}
				q = parsed
			}
			weights[name] = q
		}
	}
	return weights
}
