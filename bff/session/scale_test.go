//go:build unix

package session_test

import (
	"crypto/rand"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/bff/session"
	"github.com/gatehouse-dev/gatehouse/bff/session/sessiontest"
)

// BenchmarkScale looks up one of a hundred to a million sessions in the stores of one process, warm
// (cached) and cold (not cached). It reports the bytes of a session in the store, tokens included,
// and the memory of the process.
//
//	go test ./bff/session -run '^$' -bench Scale -benchtime 20000x
//
// A million sessions take 3 GB, of memory or of disk.
func BenchmarkScale(b *testing.B) {
	for _, store := range stores {
		if store.name != "memory" && store.name != "sqlite" { // the others have benchmarks of their own
			continue
		}
		for _, sessions := range []int{100, 1_000, 10_000, 100_000, 1_000_000} {
			b.Run(fmt.Sprintf("%s/sessions=%d", store.name, sessions), func(b *testing.B) {
				s, size := store.open(b)
				before := size()
				key := secret()
				warm, cold := benchManagerWith(b, s, key, 0), benchManagerWith(b, s, key, 1)
				sample := crowd(b, s, warm, sessions)
				perSession := float64(size()-before) / float64(sessions)
				for _, way := range []struct {
					name string
					m    *session.Manager
				}{{"warm", warm}, {"cold", cold}} {
					b.Run(way.name, func(b *testing.B) {
						ask := func(i int) {
							if _, err := way.m.Load(b.Context(), sample[i%len(sample)]); err != nil {
								b.Fatal(err)
							}
						}
						for i := range sample {
							ask(i)
						}
						i := 0
						b.ReportAllocs()
						began := cpu(b)
						for b.Loop() {
							ask(i)
							i += 7 // coprime to the sample's length
						}
						b.ReportMetric(float64(cpu(b)-began)/float64(b.N), "cpu-ns/op")
						b.ReportMetric(perSession, "bytes/session")
						b.ReportMetric(float64(residentNow(b))/1e6, "MB-resident")
					})
				}
			})
		}
	}
}

// crowd creates sessions in a store, and returns requests of at most 1000 of them, evenly spread.
// The others have the length of real ones and cannot be opened, since sealing them takes long.
func crowd(b *testing.B, store sessiontest.Store, m *session.Manager, n int) []*http.Request {
	b.Helper()
	first := fill(b, m, 1)
	records, err := store.ListBySubject(b.Context(), issuer, "auth0|0")
	if err != nil || len(records) != 1 {
		b.Fatal(records, err)
	}
	one, err := store.Get(b.Context(), records[0].ID)
	if err != nil {
		b.Fatal(err)
	}
	every := max(n/1000, 1)
	sample := first
	for i := 1; i < n; i++ {
		if i%every == 0 {
			_, cookie, err := m.Create(b.Context(), session.NewSession{
				Issuer: issuer, Subject: fmt.Sprintf("auth0|%d", i), SID: fmt.Sprintf("sid-%d", i), Data: typical(),
				UserAgent: one.UserAgent, Address: one.Address,
			})
			if err != nil {
				b.Fatal(err)
			}
			sample = append(sample, request(cookie))
			continue
		}
		r := one
		_, _ = rand.Read(r.ID[:]) // never fails
		r.Subject, r.SID = fmt.Sprintf("auth0|%d", i), fmt.Sprintf("sid-%d", i)
		r.ExpiresAt = r.ExpiresAt.Add(time.Duration(i) * time.Millisecond)
		if err := store.Create(b.Context(), r, session.ID{}); err != nil {
			b.Fatal(err)
		}
	}
	return sample
}

// cpu is the processor time of this process, which other programs do not lengthen.
func cpu(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

func benchManagerWith(b *testing.B, store session.Store, secret string, cache int) *session.Manager {
	b.Helper()
	m, err := session.NewManager(session.ManagerConfig{Store: store, Secrets: []string{secret}, CacheSize: cache})
	if err != nil {
		b.Fatal(err)
	}
	return m
}

// residentNow returns the resident memory of the process in bytes.
func residentNow(b *testing.B) int {
	b.Helper()
	content, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(content))[1])
	if err != nil {
		b.Fatal(err)
	}
	return pages * os.Getpagesize()
}
