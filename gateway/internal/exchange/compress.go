package exchange

import (
	"bytes"
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/httpheader"
)

// CompressFrom is the length of an answer, in bytes, from which it is
// compressed.
const CompressFrom = 1 << 10

// blur is the number of bytes by which the length of a compressed answer varies.
//
// An answer may contain a secret beside text that an attacker chose, and then
// its compressed length reveals something of the secret (BREACH, CVE-2013-3587).
// So each answer gets a comment of up to blur bytes. Its length is a keyed hash of
// the content, so that repeated requests do not average it out.
const blur = 32

var blurSeed = maphash.MakeSeed()

// gzippers use the fastest level: for a page of a list, the best level saves 3%
// more and takes five times as long.
var gzippers = sync.Pool{New: func() any {
	w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // the level is valid
	return w
}}

// compressed returns the body of an answer as it is sent, and sets its header.
//
// It compresses long JSON answers to GET and HEAD and nothing else: not errors,
// which repeat parts of the request; not streams, whose messages the compressor
// would hold back; not answers with a strong entity tag, which would need
// another tag per encoding (RFC 9110 §8.8.3.3); not an HttpBody, whose service
// knows whether compression is worthwhile.
func compressed(r *http.Request, h http.Header, body []byte) []byte {
	if len(body) < CompressFrom || r.Method != http.MethodGet && r.Method != http.MethodHead ||
		h.Get("Content-Type") != httpheader.JSON || len(h["Etag"]) > 0 || len(h["Content-Encoding"]) > 0 ||
		strings.Contains(h.Get("Cache-Control"), "no-transform") {
		return body
	}
	h.Add("Vary", "Accept-Encoding")
	if !httpheader.AcceptsGzip(r.Header["Accept-Encoding"]) {
		return body
	}
	var buffer bytes.Buffer
	w := gzippers.Get().(*gzip.Writer)
	defer gzippers.Put(w)
	w.Reset(&buffer)
	w.Comment = strings.Repeat("-", int(maphash.Bytes(blurSeed, body)%blur))
	_, _ = w.Write(body) // a buffer does not fail
	_ = w.Close()
	h.Set("Content-Encoding", "gzip")
	h.Set("Content-Length", strconv.Itoa(buffer.Len()))
	return buffer.Bytes()
}
