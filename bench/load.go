//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// answer is the response of every variant.
const answer = `{"message":"This is a private route"}`

// browserHeaders are the headers of a page's fetch.
var browserHeaders = []string{
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

// request returns the bytes of the measured GET.
func request(s settings, host, credential string) []byte {
	lines := []string{"GET /api/private-route HTTP/1.1", "Host: " + host}
	if !s.minimal {
		lines = append(lines, browserHeaders...)
	}
	lines = append(lines, credential, "", "")
	return []byte(strings.Join(lines, "\r\n"))
}

// ask sends n requests over the variant's connections. Each connection sends the next request after
// the response.
func ask(ctx context.Context, v *variant, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, request := range v.requests {
		share := n / len(v.requests)
		if i < n%len(v.requests) {
			share++
		}
		group.Go(func() error {
			conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", v.address)
			if err != nil {
				return err
			}
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
			r := bufio.NewReader(conn)
			body := make([]byte, 4096)
			for range share {
				if _, err := conn.Write(request); err != nil {
					return err
				}
				if err := receive(r, body); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

// receive reads one response. It does as little as possible, because the client shares the
// processors with the servers.
func receive(r *bufio.Reader, body []byte) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 200 ")) {
		resp, err := http.ReadResponse(bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(status)), r)), nil)
		if err != nil {
			return err
		}
		content, _ := io.ReadAll(resp.Body)
		return fmt.Errorf("answered %s: %s", resp.Status, content)
	}
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) == 2 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil {
				return err
			}
		}
	}
	if length != len(answer) {
		return fmt.Errorf("the answer has %d bytes, want %d", length, len(answer))
	}
	if _, err := io.ReadFull(r, body[:length]); err != nil {
		return err
	}
	if string(body[:length]) != answer {
		return fmt.Errorf("the answer is %q", body[:length])
	}
	return nil
}
