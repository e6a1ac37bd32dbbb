package blobs

import (
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// A span is the part of a file that an answer has.
type span struct {
	offset, length int64
	ranged         bool // the caller asked for it; otherwise it is the whole file
}

// part returns what a caller asks for.
func (f *File) part(md metadata.MD) (span, error) {
	whole := span{length: f.Size}
	ranges, validators := md.Get("range"), md.Get("if-range")
	if len(ranges) != 1 || len(validators) > 1 || len(validators) == 1 && !f.unchanged(validators[0]) {
		return whole, nil
	}
	first, last, valid := parseRange(ranges[0])
	switch {
	case !valid, f.Size == 0: // some clients add a range to each request (golang/go#47021)
		return whole, nil
	case first < 0: // the last bytes
		first, last = max(f.Size-last, 0), f.Size-1
	case last < 0 || last >= f.Size:
		last = f.Size - 1
	}
	if first > last {
		return span{}, status.Errorf(codes.OutOfRange, "the range is outside the content, which has %d bytes", f.Size)
	}
	return span{first, last - first + 1, true}, nil
}

// parseRange returns the positions in a Range of one range of bytes (RFC 9110
// §14.1.2). last is -1 if it is not given; first is -1 for the last bytes, whose
// number is then last. Everything else is not valid, and ignored.
func parseRange(value string) (first, last int64, valid bool) {
	unit, set, ok := strings.Cut(value, "=")
	from, to, dashed := strings.Cut(strings.TrimSpace(set), "-")
	if !ok || !dashed || !strings.EqualFold(unit, "bytes") {
		return 0, 0, false
	}
	first, last = -1, -1
	if from != "" {
		if first, ok = position(from); !ok {
			return 0, 0, false
		}
	}
	if to != "" {
		if last, ok = position(to); !ok {
			return 0, 0, false
		}
	}
	if first < 0 && last < 0 || first >= 0 && last >= 0 && first > last {
		return 0, 0, false
	}
	return first, last, true
}

// position parses a number of digits. One that is too large for any file is the
// largest.
func position(s string) (int64, bool) {
	if strings.ContainsFunc(s, func(c rune) bool { return c < '0' || c > '9' }) {
		return 0, false
	}
	n, _ := strconv.ParseInt(s, 10, 64) // an error is out of range: n is the maximum
	return n, true
}

// unchanged compares the validator of If-Range with those of the file, as RFC
// 9110 §13.1.5 demands: an entity tag by strong comparison, a date exactly.
func (f *File) unchanged(validator string) bool {
	if strings.HasPrefix(validator, `"`) || strings.HasPrefix(validator, "W/") {
		return validator == f.ETag && !strings.HasPrefix(validator, "W/")
	}
	date, err := http.ParseTime(validator)
	return err == nil && !f.ModTime.IsZero() && date.Unix() == f.ModTime.Unix()
}
