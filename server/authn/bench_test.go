//go:build unix

package authn_test

import (
	"context"
	"fmt"
	"maps"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// sized returns a token of about 1 KB.
func sized(tb testing.TB, mint func(map[string]any) string, claims map[string]any) string {
	tb.Helper()
	all := map[string]any{
		"scope": "openid profile products:read products:write", "permissions": []string{"edit", "publish"}, "sid": "S",
		"padding": strings.Repeat("x", 225),
	}
	maps.Copy(all, claims)
	raw := mint(all)
	if len(raw) < 1000 || len(raw) > 1100 {
		tb.Fatalf("the token has %d bytes; correct the padding", len(raw))
	}
	return raw
}

// cpu returns the processor time of this process, which does not depend on other
// programs.
func cpu(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// BenchmarkUnary measures the cost of a call beyond its handler, with a cached token.
func BenchmarkUnary(b *testing.B) {
	issuer := newIssuer(b)
	list, err := denylist.New(denylist.Config{})
	if err != nil {
		b.Fatal(err)
	}
	for n := range 100_000 {
		if err := list.DenySession(b.Context(), issuer.URL, fmt.Sprint("another-", n), time.Time{}); err != nil {
			b.Fatal(err)
		}
	}
	introspecting(issuer).set(opaque, map[string]any{"aud": audience, "sub": "ada", "scope": "products:write", "permissions": []string{"edit"}})
	for _, c := range []struct {
		name   string
		cfg    authn.Config
		opaque bool
	}{
		{"plain", authn.Config{}, false},
		{"beside two issuers", authn.Config{Issuers: newSeveral(b).cfg.Issuers}, false},
		{"denylist of 100,000", authn.Config{Denylist: list}, false},
		{"JWT beside introspection", introspection(issuer, authn.Config{}), false},
		{"opaque", introspection(issuer, authn.Config{}), true},
	} {
		table, methods := newTable(b, &authv1.Policy{Scopes: []string{"products:write"}, Permissions: []string{"edit"}})
		i := authn.NewInterceptor(newVerifier(b, issuer, c.cfg), table)
		raw := sized(b, func(claims map[string]any) string { return mint(issuer, claims) }, nil)
		if c.opaque {
			raw = opaque
		}
		ctx := incoming(context.Background(), "Bearer "+raw)
		info := &grpc.UnaryServerInfo{FullMethod: methods[0]}
		handler := func(context.Context, any) (any, error) { return nil, nil }
		call := func(b *testing.B) {
			if _, err := i.Unary(ctx, nil, info, handler); err != nil {
				b.Error(err)
			}
		}
		b.Run(c.name+"/one goroutine", func(b *testing.B) {
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				call(b)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N), "cpu-ns/op")
		})
		b.Run(c.name+"/many goroutines", func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(32)
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					call(b)
				}
			})
		})
	}
}

// BenchmarkPrincipalMemory reports the memory of one cached token of 1 KB, including
// the claims that a service may ask for. Config.CacheSize documents it.
func BenchmarkPrincipalMemory(b *testing.B) {
	issuer := newIssuer(b)
	const tokens = 2000
	var raws []string
	for n := range tokens {
		raws = append(raws, sized(b, func(claims map[string]any) string { return mint(issuer, claims) }, map[string]any{"sub": fmt.Sprint("user-", n)}))
	}
	for b.Loop() {
		v := newVerifier(b, issuer, authn.Config{})
		before := heap()
		for _, raw := range raws {
			if _, err := v.Verify(context.Background(), strings.Clone(raw)); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(heap()-before)/tokens, "B/token")
		runtime.KeepAlive(v)
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
