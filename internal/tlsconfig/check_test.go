package tlsconfig_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/tlsconfig"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	ca, other := certtest.New(t, "Private CA"), certtest.New(t, "Other CA")
	process := tlsconfig.Process{BFF: true, ListenAdmin: "127.0.0.1:0", BaseURL: "https://shop.example",
		Name: func(string) string { return "GATEHOUSE_BASE_URL" }}
	months := time.Now().AddDate(0, 6, 0)
	good := ca.IssueUntil(t, months, "shop.example")
	chained := func(p certtest.Pair, issuer *certtest.Authority) certtest.Pair {
		return certtest.Pair{Cert: append(p.Cert, issuer.PEM...), Key: p.Key}
	}
	for name, c := range map[string]struct {
		pair certtest.Pair
		want []string // status and a part of each result
	}{
		"good":             {good, []string{"ok is valid until", "unknown whether browsers trust the issuer"}},
		"with its chain":   {chained(good, ca), []string{"ok is valid until", "unknown whether browsers trust"}},
		"chain of another": {chained(good, other), []string{"wrong certificate 2 in it has not issued certificate 1", "unknown "}},
		"expired":          {ca.IssueUntil(t, time.Now().Add(-time.Hour), "shop.example"), []string{"wrong expired at"}},
		"soon":             {ca.IssueUntil(t, time.Now().Add(13*24*time.Hour), "shop.example"), []string{"warn expires at", "unknown "}},
		"another name":     {ca.IssueUntil(t, months, "other.example"), []string{"ok is valid until", "warn is not for shop.example, the host of GATEHOUSE_BASE_URL"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			certFile, keyFile := c.pair.Write(t, t.TempDir(), "bff")
			cfg := tlsconfig.Config{CertFile: certFile, KeyFile: keyFile}
			results := cfg.Check(process)
			if len(results) != len(c.want) {
				t.Fatalf("got %v, want %d results", results, len(c.want))
			}
			for i, want := range c.want {
				status, part, _ := strings.Cut(want, " ")
				if got := results[i]; got.Status != check.Status(status) || !strings.Contains(got.What, part) || got.Status == check.Wrong && got.Remedy == "" {
					t.Errorf("result %d: got %s %q, want %s", i+1, got.Status, got.What, want)
				}
			}
		})
	}
	certFile, keyFile := ca.IssueUntil(t, time.Now().Add(-time.Hour), "bff").Write(t, t.TempDir(), "client")
	cfg := tlsconfig.Config{ClientCertFile: certFile, ClientKeyFile: keyFile}
	if got := fmt.Sprint(cfg.Check(process)); !strings.Contains(got, certFile+" expired at") {
		t.Errorf("an expired client certificate: got %s", got)
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if got := cfg.Check(process); len(got) != 0 {
		t.Errorf("a file that was removed: got %v", got)
	}
}
