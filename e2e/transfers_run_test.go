package e2e

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestTransfers sends and receives files as a page of a signed-in user does.
func TestTransfers(t *testing.T) {
	t.Parallel()
	for _, topology := range transferTopologies {
		t.Run(topology, func(t *testing.T) {
			t.Parallel()
			s := startTransfers(t, topology, time.Hour)
			const size = 20 << 20
			tests := map[string]func(*testing.T){
				"whole": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: size}, nil, "Accept-Encoding", "gzip"))
					h := sha256.New()
					n, err := io.Copy(h, resp.Body)
					if err != nil || n != size || hex.EncodeToString(h.Sum(nil)) != sumOf(size) {
						t.Errorf("got %d bytes with hash %x, %v; want %d", n, h.Sum(nil), err, size)
					}
					wantFields(t, resp, 200, "Content-Length", strconv.Itoa(size), "Accept-Ranges", "bytes", "Etag", `"p20971520"`,
						"Content-Disposition", `attachment; filename="pattern.bin"`, "Content-Encoding", "", "Cache-Control", "private, no-cache",
						"X-Content-Type-Options", "nosniff", "Content-Type", "application/octet-stream")
					if policies := resp.Header["Content-Security-Policy"]; len(policies) != 1 || !strings.HasPrefix(policies[0], "sandbox;") {
						t.Errorf("got policies %q", policies)
					}
				},
				"range": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: size}, nil, "Range", "bytes=65530-65540", "If-Range", `"p20971520"`))
					got, err := io.ReadAll(resp.Body)
					if err != nil || string(got) != string(pattern[65530:65541]) {
						t.Errorf("got %x, %v", got, err)
					}
					wantFields(t, resp, 206, "Content-Length", "11", "Content-Range", "bytes 65530-65540/20971520")
				},
				"range of another state": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: 10}, nil, "Range", "bytes=5-", "If-Range", `"p9"`))
					wantFields(t, resp, 200, "Content-Length", "10", "Content-Range", "")
				},
				"range outside": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: 10}, nil, "Range", "bytes=10-"))
					wantFields(t, resp, 416, "Content-Range", "bytes */10")
				},
				"not modified": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: 10}, nil, "If-None-Match", `"p10"`))
					wantFields(t, resp, 304, "Etag", `"p10"`, "Content-Length", "")
				},
				"head": func(t *testing.T) {
					p := plan{size: size + 1}
					resp := s.do(t, s.request(t.Context(), t, "HEAD", p, nil))
					wantFields(t, resp, 200, "Content-Length", strconv.Itoa(size+1), "Accept-Ranges", "bytes")
					if log := s.user.fetch(t, "/api/transfers/log"); strings.Contains(log.body, "open "+p.String()) {
						t.Error("HEAD has opened the file")
					}
				},
				"empty": func(t *testing.T) {
					wantFields(t, s.do(t, s.request(t.Context(), t, "GET", plan{}, nil)), 200, "Content-Length", "0")
					resp := s.do(t, s.request(t.Context(), t, "PUT", plan{}, http.NoBody))
					if got, err := io.ReadAll(resp.Body); err != nil || string(got) != sumOf(0) {
						t.Errorf("got %d %q, %v", resp.StatusCode, got, err)
					}
				},
				"upload with its length": func(t *testing.T) { s.uploads(t, plan{}, size, size) },
				"upload in chunks":       func(t *testing.T) { s.uploads(t, plan{}, size, -1) },
				"upload after 100 Continue": func(t *testing.T) {
					s.uploads(t, plan{}, 1<<20, 1<<20, "Expect", "100-continue")
				},
				"failure in the middle": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: size, fails: 1 << 20}, nil))
					if n, err := io.Copy(io.Discard, resp.Body); err == nil || n >= size {
						t.Errorf("got %d bytes, %v; want an error", n, err)
					}
				},
				"browser leaves a download": func(t *testing.T) {
					p := plan{size: 1 << 40}
					ctx, leave := context.WithCancel(t.Context())
					resp := s.do(t, s.request(ctx, t, "GET", p, nil))
					if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
						t.Fatal(err)
					}
					leave()
					s.recorded(t, slack, "download "+p.String()+": Canceled")
				},
				"browser leaves an upload": func(t *testing.T) {
					p := plan{size: 11}
					ctx, leave := context.WithCancel(t.Context())
					r, w := io.Pipe()
					go func() {
						if resp, err := s.user.client.Do(s.request(ctx, t, "PUT", p, r)); err == nil {
							resp.Body.Close()
						}
					}()
					if _, err := io.CopyN(w, &patternFile{left: 1 << 20}, 1<<20); err != nil {
						t.Fatal(err)
					}
					s.recorded(t, patience, "open "+p.String())
					leave()
					s.recorded(t, slack, "upload "+p.String()+": Canceled")
				},
				"upload refused at once": func(t *testing.T) { s.refused(t, plan{refuse: true}, 403) },
				"upload refused in the middle": func(t *testing.T) {
					s.refused(t, plan{limit: 1 << 20}, 429)
				},
				"slow reader": func(t *testing.T) {
					resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: size}, nil))
					for n := 0; n < 5; n++ {
						if _, err := io.CopyN(io.Discard, resp.Body, 64<<10); err != nil {
							t.Fatal(err)
						}
						time.Sleep(20 * time.Millisecond)
					}
					if _, err := io.Copy(io.Discard, resp.Body); err != nil {
						t.Error(err)
					}
				},
				"logout ends a download": func(t *testing.T) {
					other := &transferSystem{base: s.base, user: entersAs(t, s.base, "seller")}
					p := plan{size: 1 << 41}
					resp := other.do(t, other.request(t.Context(), t, "GET", p, nil))
					if _, err := io.CopyN(io.Discard, resp.Body, 1<<20); err != nil {
						t.Fatal(err)
					}
					other.user.open(t, s.base+"/api/auth/logout")
					if _, err := io.Copy(io.Discard, resp.Body); err == nil {
						t.Error("the download ended without an error")
					}
					s.recorded(t, slack, "download "+p.String()+": Canceled")
				},
				"logout ends an upload": func(t *testing.T) {
					other := &transferSystem{base: s.base, user: entersAs(t, s.base, "admin")}
					p := plan{size: 12}
					go func() {
						if resp, err := other.user.client.Do(other.request(t.Context(), t, "PUT", p, &patternFile{left: 1 << 41})); err == nil {
							resp.Body.Close()
						}
					}()
					s.recorded(t, patience, "open "+p.String())
					other.user.open(t, s.base+"/api/auth/logout")
					s.recorded(t, slack, "upload "+p.String()+": Canceled")
				},
				"slow service": func(t *testing.T) { s.uploads(t, plan{pause: 20 * time.Millisecond}, 2<<20, -1) },
			}
			for name, test := range tests {
				t.Run(name, func(t *testing.T) {
					t.Parallel()
					test(t)
				})
			}
		})
	}
}

// TestTransfersStop stops the program during transfers: they have the shutdown timeout, are then
// broken off, and the download goes on at the next process.
func TestTransfersStop(t *testing.T) {
	t.Parallel()
	s := startTransfers(t, "one process", time.Hour, "GATEHOUSE_SHUTDOWN_TIMEOUT=1s", "GATEHOUSE_SESSION_STORE=sqlite:"+filepath.Join(t.TempDir(), "sessions.db"))
	const size = 1 << 40
	download := s.do(t, s.request(t.Context(), t, "GET", plan{size: size}, nil))
	part, err := io.ReadAll(io.LimitReader(download.Body, 1<<20))
	if err != nil {
		t.Fatal(err)
	}
	upload := make(chan string, 1)
	p := plan{size: 13}
	go func() {
		resp, err := s.user.client.Do(s.request(t.Context(), t, "PUT", p, &patternFile{left: size, pause: time.Millisecond, ctx: t.Context()}))
		if err != nil {
			upload <- "broken off"
			return
		}
		resp.Body.Close()
		upload <- resp.Status
	}()
	s.recorded(t, patience, "open "+p.String())
	stopped := make(chan time.Duration, 1)
	go func() {
		began := time.Now()
		s.processes[0].stop(t)
		stopped <- time.Since(began)
	}()
	rest, err := io.Copy(io.Discard, download.Body)
	if err == nil {
		t.Errorf("the download ended after %d bytes without an error", rest)
	}
	if took := <-stopped; took < time.Second || took > time.Second+slack {
		t.Errorf("the program ended %v after the signal, want a second", took)
	}
	if got := <-upload; got[0] == '2' {
		t.Errorf("the upload got %s", got)
	}
	next := start(t, "serve", s.env, executable(t), "serve")
	next.ready(t, s.base+"/readyz")
	resp := s.do(t, s.request(t.Context(), t, "GET", plan{size: size}, nil, "Range", fmt.Sprintf("bytes=%d-", len(part)), "If-Range", download.Header.Get("Etag")))
	wantFields(t, resp, 206, "Content-Range", fmt.Sprintf("bytes %d-%d/%d", len(part), size-1, size))
	got := make([]byte, 100)
	if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != string(pattern[len(part)%period:][:100]) {
		t.Errorf("it goes on with %x, %v", got, err)
	}
}

// wantFields checks the status and the header fields of a response.
func wantFields(t *testing.T, resp *http.Response, status int, fields ...string) {
	t.Helper()
	if resp.StatusCode != status {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		t.Errorf("got %s %s, want %d", resp.Status, body, status)
	}
	for i := 0; i < len(fields); i += 2 {
		if got := strings.Join(resp.Header[fields[i]], " | "); got != fields[i+1] {
			t.Errorf("%s: got %q, want %q", fields[i], got, fields[i+1])
		}
	}
}

// uploads sends a file, and checks the hash that the service answers.
func (s *transferSystem) uploads(t *testing.T, p plan, size, length int64, header ...string) {
	t.Helper()
	r := s.request(t.Context(), t, "PUT", p, &patternFile{left: size}, header...)
	r.ContentLength = length
	resp := s.do(t, r)
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || string(got) != sumOf(size) {
		t.Errorf("got %s %.200q, %v; want 200 and the hash of %d bytes", resp.Status, got, err, size)
	}
}

// refused sends a file without an end, of which the service wants no more: the answer must arrive
// while it is being sent.
func (s *transferSystem) refused(t *testing.T, p plan, status int) {
	t.Helper()
	// Not faster than a network: the rest of a body is read for a while, and up to 64 MiB.
	r := s.request(t.Context(), t, "PUT", p, &patternFile{left: 1 << 50, pause: time.Millisecond, ctx: t.Context()})
	resp, err := s.user.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) || resp.StatusCode != status {
		t.Errorf("got %s %s, %v; want %d", resp.Status, body, err, status)
	}
}
