package gateway

import (
	"bytes"
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// Compressed are long JSON answers to requests that only read, and no other:
// not errors, which repeat what a request says; not streams, whose messages
// would wait in the compressor; not what has a strong entity tag, which would
// need another one for each encoding (RFC 9110 §8.8.3.3) and then match no
// service's; not an HttpBody, whose service knows whether it is worth it.
//
// An answer may hold what a person is meant to keep to themselves beside what
// an attacker had them ask for, and then its compressed length tells something
// (BREACH, CVE-2013-3587). So that length is blurred: by up to blur bytes of
// comment, as many as a keyed hash of the content says, so that asking for the
// same again and again does not average them out.
const blur = 32

var blurSeed = maphash.MakeSeed()

// gzippers are at the fastest level: of a page of a list, the best one saves 3%
// more, for five times the time.
var gzippers = sync.Pool{New: func() any {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	if err != nil {
		panic(err) // a level that does not exist
	}
	return w
}}

// compressed returns a whole body as it is to be sent, and labels it.
func (x *exchange) compressed(body []byte) []byte {
	h := x.Header()
	if len(body) < compressFrom || x.request.Method != http.MethodGet && x.request.Method != http.MethodHead ||
		h.Get("Content-Type") != typeJSON || len(h["Etag"]) > 0 || len(h["Content-Encoding"]) > 0 ||
		strings.Contains(h.Get("Cache-Control"), "no-transform") {
		return body
	}
	h.Add("Vary", "Accept-Encoding")
	if !acceptsGzip(x.request.Header["Accept-Encoding"]) {
		return body
	}
	var buffer bytes.Buffer
	w := gzippers.Get().(*gzip.Writer)
	defer gzippers.Put(w)
	w.Reset(&buffer)
	w.Comment = strings.Repeat("-", int(maphash.Bytes(blurSeed, body)%blur))
	_, err := w.Write(body)
	if err == nil {
		err = w.Close()
	}
	if err != nil { // a buffer takes everything
		return body
	}
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Length", strconv.Itoa(buffer.Len()))
	return buffer.Bytes()
}

// acceptsGzip reads Accept-Encoding, RFC 9110 §12.5.3.
func acceptsGzip(values []string) bool {
	others := false
	for _, value := range values {
		for element := range strings.SplitSeq(value, ",") {
			coding, parameter, weighted := strings.Cut(element, ";")
			accepted := true
			if weighted {
				name, q, _ := strings.Cut(strings.TrimSpace(parameter), "=")
				weight, err := strconv.ParseFloat(strings.TrimSpace(q), 64)
				accepted = strings.EqualFold(name, "q") && err == nil && weight > 0
			}
			switch coding = strings.ToLower(strings.TrimSpace(coding)); coding {
			case "gzip", "x-gzip":
				return accepted
			case "*":
				others = accepted
			}
		}
	}
	return others
}
