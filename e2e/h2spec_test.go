package e2e

import (
	"encoding/xml"
	"errors"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// h2specCases is the number of cases of h2spec 2.2.1 in strict mode.
const h2specCases = 146

// h2specDeviations are the cases in which Go's HTTP/2 server deviates, each with the reason.
var h2specDeviations = map[string]string{
	"http2/6.5.3 Sends multiple values of SETTINGS_INITIAL_WINDOW_SIZE":                                            "net/http takes a SETTINGS frame that repeats a setting for an attack, and closes the connection",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the connection-specific header field":                       "net/http answers a malformed request with 400, as RFC 9113 §8.1.1 allows",
	"http2/8.1.2.2 Sends a HEADERS frame that contains the TE header field with any value other than \"trailers\"": "as above",
}

// h2specEither are cases with two valid ends: when the gateway refuses a request by its header, the
// response and the end of the stream may come before the frames that exceed a limit (RFC 9113
// §8.1).
var h2specEither = map[string]bool{
	`http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the DATA frame payload length`:                      true,
	`http2/8.1.2.6 Sends a HEADERS frame with the "content-length" header field which does not equal the sum of the multiple DATA frames payload length`: true,
	`http2/6.9.1 Sends multiple WINDOW_UPDATE frames increasing the flow control window to above 2^31-1 on a stream`:                                     true,
}

// h2specCleartext deviates on a port without TLS only: HTTP/1.1 is served there too, so the preface
// is read as such a request, answered with 400, and the connection closed.
const h2specCleartext = "http2/3.5 Sends invalid connection preface"

// TestHTTP2Conformance runs all cases of h2spec against the gateway's server: on the program's
// port, where a bff or a proxy may use HTTP/2 without TLS, and with TLS, as an importing program
// may serve it.
func TestHTTP2Conformance(t *testing.T) {
	t.Parallel()
	t.Run("without TLS", func(t *testing.T) {
		t.Parallel()
		address := freeAddress(t)
		p := gatehouse(t, []string{"AUTH0_BASE_URL=http://localhost:3000"}, "gateway", "--listen-gateway="+address, "--grpc-target=dns:///127.0.0.1:1")
		p.ready(t, "http://"+address+"/healthz")
		deviations := maps.Clone(h2specDeviations)
		deviations[h2specCleartext] = "see there"
		conforms(t, deviations, "--port="+portOf(address))
	})
	t.Run("TLS", func(t *testing.T) {
		t.Parallel()
		server := httptest.NewUnstartedServer(nil)
		server.Config = newShop(t).rest.Server()
		server.EnableHTTP2 = true
		server.StartTLS()
		t.Cleanup(server.Close)
		conforms(t, h2specDeviations, "--port="+portOf(server.Listener.Addr().String()), "--tls", "--insecure")
	})
}

func conforms(t *testing.T, deviations map[string]string, args ...string) {
	t.Helper()
	report := filepath.Join(t.TempDir(), "report.xml")
	// Any response longer than five bytes; for a shorter one h2spec leaves out a case.
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"tool", "-modfile=../tools/go.mod", "h2spec",
		"--host=127.0.0.1", "--path=/api/nothing", "--strict", "--timeout=6", "--junit-report=" + report}, args...)...)
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
	passed, either, deviated := 0, 0, map[string]bool{}
	for _, c := range result.Cases {
		name := c.Package + " " + c.Name
		switch failed := c.Failure != nil || c.Error != nil; {
		case c.Skipped == nil && h2specEither[name]:
			either++
		case c.Skipped != nil:
			t.Errorf("left out: %s", name)
		case failed && deviations[name] == "":
			t.Errorf("failed: %s", name)
		case failed:
			deviated[name] = true
		default:
			passed++
		}
	}
	for name := range deviations {
		if !deviated[name] {
			t.Errorf("passes now, remove it from the list: %s", name)
		}
	}
	if want := h2specCases - len(deviations) - len(h2specEither); either != len(h2specEither) || len(result.Cases) != h2specCases || passed != want {
		t.Errorf("%d of %d cases passed, want %d of %d", passed, len(result.Cases), want, h2specCases)
	}
	if t.Failed() {
		_, failures, _ := strings.Cut(string(out), "Failures:")
		t.Logf("h2spec says:%s", failures)
	}
}
