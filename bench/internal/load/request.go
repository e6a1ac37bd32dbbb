package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
)

// Path is the path of the measured GET.
const Path = "/api/private-route"

// Answer is the body of every response. Whitespace may differ.
const Answer = `{"message":"This is a private route"}`

// BrowserHeaders are the headers of a page's fetch.
var BrowserHeaders = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/156.0.0.0 Safari/537.36",
	"Accept: */*",
	"Accept-Language: en-GB,en;q=0.9",
	"Accept-Encoding: gzip, deflate, br, zstd",
	"Referer: http://localhost:3000/private",
	`Sec-Ch-Ua: "Chromium";v="156", "Not A(Brand";v="24"`,
	"Sec-Ch-Ua-Mobile: ?0",
	`Sec-Ch-Ua-Platform: "Linux"`,
	"Sec-Fetch-Dest: empty",
	"Sec-Fetch-Mode: cors",
	"Sec-Fetch-Site: same-origin",
}

// Request returns the bytes of a GET with these header lines, of which empty ones are left out.
func Request(path, host string, headers ...string) []byte {
	lines := []string{"GET " + path + " HTTP/1.1", "Host: " + host}
	for _, header := range headers {
		if header != "" {
			lines = append(lines, header)
		}
	}
	return []byte(strings.Join(append(lines, "", ""), "\r\n"))
}

// Receive reads one response, and compares status and body. It reports whether the server closes the
// connection. It allocates nothing unless the response differs.
func Receive(r *bufio.Reader, body []byte) (closes bool, err error) {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(status)), r)), nil)
		if err != nil {
			return false, err
		}
		content, _ := io.ReadAll(io.LimitReader(resp.Body, 2000))
		return false, fmt.Errorf("answered %s: %s", resp.Status, content)
	}
	length, chunked := -1, false
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return false, err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := header(line, "content-length:"); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return false, err
			}
		} else if value, ok := header(line, "transfer-encoding:"); ok {
			chunked = string(value) == "chunked"
		} else if value, ok := header(line, "connection:"); ok {
			closes = bytes.EqualFold(value, []byte("close"))
		}
	}
	switch {
	case chunked:
		length, err = readChunks(r, body)
	case length < 0 || length > len(body):
		err = fmt.Errorf("an answer of %d bytes; want %d", length, len(Answer))
	default:
		_, err = io.ReadFull(r, body[:length])
	}
	if err != nil {
		return closes, err
	}
	return closes, compare(body[:length])
}

// header returns the value of a header line whose lower-case name ends in a colon.
func header(line []byte, name string) (value []byte, ok bool) {
	if len(line) < len(name) || !bytes.EqualFold(line[:len(name)], []byte(name)) {
		return nil, false
	}
	return bytes.TrimSpace(line[len(name):]), true
}

// readChunks reads a chunked body without trailers, and returns its length.
func readChunks(r *bufio.Reader, body []byte) (length int, err error) {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		size, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 31)
		if err != nil {
			return 0, fmt.Errorf("size of a chunk: %w", err)
		}
		if length+int(size) > len(body) {
			return 0, fmt.Errorf("an answer of at least %d bytes; want %d", length+int(size), len(Answer))
		}
		if _, err := io.ReadFull(r, body[length:length+int(size)]); err != nil {
			return 0, err
		}
		length += int(size)
		if _, err := r.Discard(len("\r\n")); err != nil {
			return 0, err
		}
		if size == 0 {
			return length, nil
		}
	}
}

func compare(body []byte) error {
	if string(body) == Answer {
		return nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, body); err != nil || compact.String() != Answer {
		return fmt.Errorf("the answer is %q; want %q", body, Answer)
	}
	return nil
}
