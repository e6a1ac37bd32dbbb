package e2e

import (
	"encoding/xml"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// h2specCases is how many cases h2spec 2.2.1 has when it is strict.
const h2specCases = 146

// h2specDeviations are the cases that Go's own HTTP/2 server decides
// otherwise, each with its reason.
var h2specDeviations = map[string]string{
	"http2/3.5 Sends invalid connection preface":                                                                   "the port speaks HTTP/1.1 too: what is no preface is read as such a request, answered with 400, and the connection closed",
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "net/http takes a SETTINGS frame that repeats a setting for an attack, and closes the connection",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                       "net/http answers a malformed request with 400, as RFC 9113 §8.1.1 allows",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "as above",
}

// TestHTTP2Conformance runs h2spec, every case of it, against the gateway's
// port: a bff or a proxy in front of it may speak HTTP/2 without TLS there.
func TestHTTP2Conformance(t *testing.T) {
	t.Parallel()
	address := freeAddress(t)
	p := gatehouse(t, []string{"AUTH0_BASE_URL=http://localhost:3000"}, "gateway", "--listen-gateway="+address, "--grpc-target=dns:///127.0.0.1:1")
	p.ready(t, "http://"+address+"/healthz")
	report := filepath.Join(t.TempDir(), "report.xml")
	// Any answer does that is longer than five bytes: for a shorter one, it
	// leaves a case out.
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=../tools/go.mod", "h2spec",
		"--host=127.0.0.1", "--port="+portOf(address), "--path=/api/nothing", "--strict", "--timeout=3", "--junit-report="+report)
	out, err := cmd.CombinedOutput()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok { // it fails for each deviation
		t.Fatal(err)
	}
	content, err := os.ReadFile(report)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var result struct {
		Cases []struct {
			Package string    `xml:"package,attr"`
			Name    string    `xml:"classname,attr"`
			Failure *struct{} `xml:"failure"`
			Error   *struct{} `xml:"error"`
			Skipped *struct{} `xml:"skipped"`
		} `xml:"testsuite>testcase"`
	}
	if err := xml.Unmarshal(content, &result); err != nil {
		t.Fatal(err)
	}
	passed, deviated := 0, map[string]bool{}
	for _, c := range result.Cases {
		name := c.Package + " " + c.Name
		switch failed := c.Failure != nil || c.Error != nil; {
		case c.Skipped != nil:
			t.Errorf("left out: %s", name)
		case failed && h2specDeviations[name] == "":
			t.Errorf("failed: %s", name)
		case failed:
			deviated[name] = true
		default:
			passed++
		}
	}
	for name := range h2specDeviations {
		if !deviated[name] {
			t.Errorf("passes by now, so take it off the list: %s", name)
		}
	}
	if want := h2specCases - len(h2specDeviations); len(result.Cases) != h2specCases || passed != want {
		t.Errorf("%d of %d cases passed, want %d of %d", passed, len(result.Cases), want, h2specCases)
	}
	if t.Failed() {
		_, failures, _ := strings.Cut(string(out), "Failures:")
		t.Logf("h2spec says:%s", failures)
	}
}
