//go:build proof

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestProofMonitoring tests the rules with promtool, and has Prometheus scrape a process and evaluate
// them, with the configuration of docs/monitoring.md.
func TestProofMonitoring(t *testing.T) {
	root := repository(t)
	promtool := found(t, "promtool")
	for _, args := range [][]string{
		{"check", "rules", "deploy/prometheus/gatehouse.rules.yaml"},
		{"test", "rules", "deploy/prometheus/gatehouse.rules.test.yaml"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %q: %v\n%s", args, err, out)
		}
	}

	var config string
	for _, b := range blocksOf(t, root, "docs/monitoring.md") {
		if b.mark == "prometheus.yml" {
			config = b.text
		}
	}
	admin, address := freeAddress(t), freeAddress(t)
	serveWithProvider(t, "--listen-admin="+admin)
	dir := t.TempDir()
	config = replaced(t, config, "10.0.0.11:9100", admin, `, "10.0.0.12:9100"`, "", "15s", "1s",
		"[gatehouse.rules.yaml]", "["+filepath.Join(root, "deploy/prometheus/gatehouse.rules.yaml")+"]")
	file := proxyFile(t, dir, "prometheus.yml", config)
	p := start(t, "prometheus", nil, found(t, "prometheus"), "--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address="+address)
	p.ready(t, "http://"+address+"/-/ready")

	get := func(path string, into any) error {
		resp, err := http.Get("http://" + address + path)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		return json.NewDecoder(resp.Body).Decode(into)
	}
	eventually(t, "Prometheus has scraped the process", func() error {
		var answer struct {
			Data struct{ Result []struct{ Value []any } }
		}
		if err := get("/api/v1/query?query="+url.QueryEscape(`gatehouse_ready{job="gatehouse"}`), &answer); err != nil {
			return err
		}
		if r := answer.Data.Result; len(r) != 1 || len(r[0].Value) != 2 || r[0].Value[1] != "1" {
			return fmt.Errorf("gatehouse_ready is %v", r)
		}
		return nil
	})
	eventually(t, "all rules were evaluated", func() error {
		var answer struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if err := get("/api/v1/rules", &answer); err != nil {
			return err
		}
		n := 0
		for _, g := range answer.Data.Groups {
			for _, r := range g.Rules {
				if r.Health != "ok" {
					return fmt.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
				}
				n++
			}
		}
		if want := len(alertRules(t)); n != want {
			return fmt.Errorf("%d rules, want %d", n, want)
		}
		return nil
	})
}
