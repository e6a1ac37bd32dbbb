package main

import (
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
)

// An example is a command of docs/admin.md and the lines that it says.
type example struct{ command, says string }

// adminExamples returns the examples of docs/admin.md.
func adminExamples(t *testing.T) (list []example) {
	t.Helper()
	text, err := os.ReadFile("../../docs/admin.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile("(?s)```sh\n([^`]*)```\n\n```(?:text|json)\n([^`]*)```").FindAllStringSubmatch(string(text), -1) {
		list = append(list, example{strings.TrimSpace(m[1]), m[2]})
	}
	return list
}

// curl makes the request of a curl command at another address.
func curl(t *testing.T, command, address string) string {
	t.Helper()
	method, url, accept := http.MethodGet, "", ""
	for _, m := range regexp.MustCompile(`'[^']*'|\S+`).FindAllString(command, -1) {
		switch word := strings.Trim(m, "'"); {
		case word == "POST":
			method = word
		case strings.HasPrefix(word, "Accept: "):
			accept = strings.TrimPrefix(word, "Accept: ")
		case strings.HasPrefix(word, "http://127.0.0.1:9100"):
			url = "http://" + address + strings.TrimPrefix(word, "http://127.0.0.1:9100")
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Accept", accept)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body)
}

var (
	anyTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`)
	spaces  = regexp.MustCompile(`[ \t]+`)
)

// TestAdminExamples makes the requests of docs/admin.md at a server whose provider is
// down: each line of the document is one of the answer.
func TestAdminExamples(t *testing.T) {
	t.Parallel()
	issuer := tokentest.NewIssuer(t)
	issuer.SetDown(true)
	tidy := func(text string) []string {
		text = strings.ReplaceAll(text, issuer.URL, "https://id.example")
		return strings.Split(strings.TrimSpace(spaces.ReplaceAllString(anyTime.ReplaceAllString(text, "TIME"), " ")), "\n")
	}
	list := adminExamples(t)
	if len(list) < 4 {
		t.Fatalf("docs/admin.md has %d examples", len(list))
	}
	done := make(chan struct{})
	serve(t, "server", func(part, address string) {
		if part != "admin" { // serve stops the program after the last call
			select {
			case <-done:
			case <-time.After(time.Minute):
				t.Error("the admin port does not listen")
			}
			return
		}
		defer close(done)
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(curl(t, "http://127.0.0.1:9100/readyz", address), "status 503"); {
			if time.Now().After(deadline) {
				t.Error("the fault of the provider does not show")
				return
			}
		}
		for _, e := range list {
			answer := tidy(curl(t, e.command, address))
			at := 0 // in the order of the document
			for _, line := range tidy(e.says) {
				for at < len(answer) && strings.TrimRight(answer[at], " ") != line {
					at++
				}
				if at == len(answer) {
					t.Errorf("%s: no line is\n%s\nin\n%s", e.command, line, strings.Join(answer, "\n"))
					break
				}
			}
		}
	}, "GATEHOUSE_OIDC_ISSUER="+issuer.URL, "GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_LISTEN_ADMIN=127.0.0.1:0", "GATEHOUSE_ADMIN_DEBUG=true")
}
