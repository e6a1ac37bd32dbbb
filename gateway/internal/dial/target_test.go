package dial_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/gateway/internal/dial"
	"github.com/gatehouse-dev/gatehouse/internal/peers"
)

// TestParse checks the forms of a target, and that the error of every other one names a
// remedy and no password.
func TestParse(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]peers.Target{
		"dns:///server:9090":           {Host: "server", Port: "9090"},
		"dns:server:9090":              {Host: "server", Port: "9090"},
		"dns://10.0.0.53/server:9090":  {Host: "server", Port: "9090", DNS: "10.0.0.53:53"},
		"dns://[::1]:5353/server:9090": {Host: "server", Port: "9090", DNS: "[::1]:5353"},
		"server:9090":                  {Host: "server", Port: "9090"},
		"server":                       {Host: "server", Port: "443"},
		":9090":                        {Host: "localhost", Port: "9090"},
		"10.0.0.1:9090":                {Host: "10.0.0.1", Port: "9090"},
		"ipv4:10.0.0.1:9090":           {Host: "10.0.0.1", Port: "9090"},
		"ipv6:[::1]:9090":              {Host: "::1", Port: "9090"},
		"[::1]:9090":                   {Host: "::1", Port: "9090"},
		"::1":                          {Host: "::1", Port: "443"},
		"passthrough:///server:9090":   {Host: "server", Port: "9090"},
		"unix:/run/grpc.sock":          {Path: "/run/grpc.sock"},
		"unix:///run/grpc.sock":        {Path: "/run/grpc.sock"},
		"unix:grpc.sock":               {Path: "grpc.sock"},
		"unix-abstract:grpc":           {Path: "@grpc"},
	} {
		if got, err := dial.Parse("Targets[0]", target); got != want || err != nil {
			t.Errorf("Parse(%q) = %+v, %v, want %+v", target, got, err, want)
		}
	}
	for target, want := range map[string]string{
		"":                         "missing",
		"http://server:9090/":      "did you mean dns:///server:9090?",
		"http://u:s3cret@server":   "such as dns:///server:9090",
		"u:s3cret@server:9090":     "such as dns:///server:9090",
		"xds:///server":            "xDS",
		"dns://server:9090":        "did you mean dns:///server:9090?",
		"ipv4:server:9090":         "dns:///server:9090",
		"foo://server:9090":        "scheme foo",
		"dns:///a:1/b":             "such as dns:///server:9090",
		"server:":                  "such as dns:///server:9090",
		"unix:":                    "unix:/PATH",
		"dns:///ser ver:9090":      "such as dns:///server:9090",
		"dns:///server:9090:9091":  "such as dns:///server:9090",
		"dns:///":                  "such as dns:///server:9090",
		"dns:///u:s3cret@server:1": "such as dns:///server:9090",
	} {
		_, err := dial.Parse("Targets[0]", target)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "Targets[0]") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("Parse(%q): %v, want an error with %q", target, err, want)
		}
	}
}
