package token_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

func allowAll(c *token.AccessConfig[*principal]) {
	var d denials
	c.Revoked = d.check
}

// BenchmarkSeenToken has a budget of 1 µs and no allocation for a token of 1 KB, with
// any number of cached tokens.
func BenchmarkSeenToken(b *testing.B) {
	issuer := tokentest.NewUnserved(b, "https://id.example")
	p := newProvider(b, issuer, nil)
	const most = 100_000
	raws := make([]string, most)
	var wg sync.WaitGroup
	for part := range slices.Chunk(raws, most/8) { // signing 100,000 tokens takes a while
		wg.Go(func() {
			for i := range part {
				part[i] = tokenOfSize(issuer, 1024)
			}
		})
	}
	wg.Wait()
	for _, n := range []int{1, 1_000, 100_000} {
		var anew verified
		v := newAccess(b, p, allowAll, anew.config, func(c *token.AccessConfig[*principal]) { c.CacheSize = most * 5 / 4 })
		before := heap()
		for _, raw := range raws[:n] {
			check(b, v, raw, 0)
		}
		each := float64(heap()-before) / float64(n)
		seen := func(b *testing.B, tokens []string, goroutines int) {
			b.ReportAllocs()
			b.SetParallelism((goroutines + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
			anew.Store(0)
			if goroutines == 1 {
				i := 0
				for b.Loop() {
					if _, _, err := v.Verify(b.Context(), tokens[i]); err != nil {
						b.Fatal(err)
					}
					if i++; i == len(tokens) {
						i = 0
					}
				}
			} else {
				var start atomic.Int64
				b.RunParallel(func(pb *testing.PB) {
					i := int(start.Add(7919)) % len(tokens)
					for pb.Next() {
						if _, _, err := v.Verify(b.Context(), tokens[i]); err != nil {
							b.Error(err)
							return
						}
						if i++; i == len(tokens) {
							i = 0
						}
					}
				})
			}
			if n > 1 {
				b.ReportMetric(each, "B/token")
				b.ReportMetric(float64(anew.Load()), "misses")
			}
		}
		// The token of a request is in the processor's cache, since it was just read.
		// Hence the rows in which 1,000 of the tokens are used; the others measure memory.
		var use []string
		for i := 0; i < n; i += max(1, n/1000) {
			use = append(use, raws[i])
		}
		for _, goroutines := range []int{1, 64} {
			b.Run(fmt.Sprintf("cached=%d/used=%d/goroutines=%d", n, len(use), goroutines), func(b *testing.B) { seen(b, use, goroutines) })
			if len(use) < n {
				b.Run(fmt.Sprintf("cached=%d/used=%d/goroutines=%d", n, n, goroutines), func(b *testing.B) { seen(b, raws[:n], goroutines) })
			}
		}
	}
	b.Run("SHA-256 alone", func(b *testing.B) {
		data := []byte(raws[0])
		b.ReportAllocs()
		for b.Loop() {
			sha256.Sum256(data)
		}
	})
}

// BenchmarkNewToken measures a new token and a bare signature check with the same key
// in turn, so that other load affects both. The budget is a ratio of 1.3.
func BenchmarkNewToken(b *testing.B) {
	issuer := tokentest.NewUnserved(b, "https://id.example")
	v := newAccess(b, newProvider(b, issuer, nil), allowAll, func(c *token.AccessConfig[*principal]) { c.CacheSize = 8 })
	const n = 256 // more than the cache holds, so that each is new every time
	raws := make([]string, n)
	sums := make([][32]byte, n)
	signatures := make([][]byte, n)
	for i := range raws {
		raws[i] = tokenOfSize(issuer, 1024)
		dot := strings.LastIndexByte(raws[i], '.')
		sums[i] = sha256.Sum256([]byte(raws[i][:dot]))
		signatures[i], _ = base64.RawURLEncoding.DecodeString(raws[i][dot+1:])
	}
	public := &issuer.Key().Private.PublicKey
	var bare, whole time.Duration
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		start := time.Now()
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sums[i%n][:], signatures[i%n]); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		if _, _, err := v.Verify(b.Context(), raws[i%n]); err != nil {
			b.Fatal(err)
		}
		bare += middle.Sub(start)
		whole += time.Since(middle)
	}
	b.ReportMetric(float64(bare.Nanoseconds())/float64(b.N), "bare-ns/op")
	b.ReportMetric(float64(whole.Nanoseconds())/float64(b.N), "verify-ns/op")
	b.ReportMetric(float64(whole)/float64(bare), "verify/bare")
}

// BenchmarkFlood reports the latency of valid calls with and without a flood of
// invented kids from 8 goroutines.
func BenchmarkFlood(b *testing.B) {
	for _, floods := range []int{0, 8} {
		b.Run(fmt.Sprintf("floods=%d", floods), func(b *testing.B) {
			issuer := tokentest.NewUnserved(b, "https://id.example")
			v := newAccess(b, newProvider(b, issuer, nil), allowAll)
			raw := tokenOfSize(issuer, 1024)
			template := strings.SplitN(raw, ".", 2)[1]
			stop := make(chan struct{})
			var wg sync.WaitGroup
			var flooded atomic.Int64
			for g := range floods {
				wg.Go(func() {
					for i := 0; ; i++ {
						select {
						case <-stop:
							return
						default:
						}
						check(b, v, tokentest.Segment(fmt.Sprintf(`{"alg":"RS256","kid":"%d-%d"}`, g, i))+"."+template, token.ReasonInvalid)
						flooded.Add(1)
					}
				})
			}
			_, before := issuer.Fetches()
			var took []time.Duration
			for b.Loop() {
				start := time.Now()
				if _, _, err := v.Verify(b.Context(), raw); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			close(stop)
			wg.Wait()
			_, after := issuer.Fetches()
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
			b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
			b.ReportMetric(float64(flooded.Load())/b.Elapsed().Seconds(), "flood/s")
			b.ReportMetric(float64(after-before), "fetches")
		})
	}
}
