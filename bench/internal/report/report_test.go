package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func series(name, product, headers string, ratio float64) Series {
	return Series{
		Row: Row{Name: name, Title: "title of " + name + " <&>", Product: product}, Headers: headers,
		CPU: Distribute([]float64{20 * ratio}), Ratio: Distribute([]float64{ratio, 1.1 * ratio, 0.9 * ratio}), Throughput: Distribute([]float64{1000 / ratio}),
		Full: Quantiles([]time.Duration{time.Millisecond}), Memory: 5 << 20, Logged: 300,
	}
}

func sample() *Report {
	return &Report{
		Commit: "c0ffee", Command: "go run -C bench .", Machine: Machine{Processors: 2, Loads: [2]string{"14.20", "15.00"}},
		Series: []Series{
			series("floor", "reference", "browser", 1), series("three", "Gatehouse", "browser", 9.5), series("stack", "Other", "browser", 460),
			series("floor", "reference", "minimal", 1), series("three", "Gatehouse", "minimal", 25),
		},
		Missing: []Missing{{"redis", "redis-server is not in PATH"}},
		Against: []Comparison{{"three", "browser", Distribute([]float64{0.98}), Distribute([]float64{1.02})}},
	}
}

// TestPlot: the image is well-formed, and says in words what it shows.
func TestPlot(t *testing.T) {
	t.Parallel()
	var image bytes.Buffer
	if err := sample().Plot(&image); err != nil {
		t.Fatal(err)
	}
	var description string
	circles := 0
	for d := xml.NewDecoder(&image); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		start, ok := token.(xml.StartElement)
		switch {
		case ok && start.Name.Local == "desc":
			if err := d.DecodeElement(&description, &start); err != nil {
				t.Fatal(err)
			}
		case ok && start.Name.Local == "circle":
			circles++
		}
	}
	if circles != 5 {
		t.Errorf("%d points, want 5", circles)
	}
	if want := "Gatehouse: title of three <&>: 9.50 with browser headers, 25.0 with minimal headers."; !strings.Contains(description, want) {
		t.Errorf("the description is %q, want %q in it", description, want)
	}
}

// TestDocument: the generated parts are replaced, and nothing else; that can be repeated.
func TestDocument(t *testing.T) {
	t.Parallel()
	const old = "# Title\n\n<!-- generated: results -->\nold\n<!-- end of results -->\n\nprose\n\n<!-- generated: rows -->\nold\n<!-- end of rows -->\nend\n"
	rows := []Row{{Name: "three", Title: "three processes", Product: "Gatehouse", Credential: "session cookie", Caches: "sessions", Logs: "lines"}}
	document, err := sample().Document([]byte(old), rows)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"# Title\n\n<!-- generated: results -->\n\n- Commit c0ffee", "| title of stack <&> (`stack`) | 9200.0 | 460 |",
		"| **9.50** |", "- `redis`: redis-server is not in PATH", "<!-- end of results -->\n\nprose\n\n<!-- generated: rows -->\n\n| row |",
		"| `three` | Gatehouse: three processes | session cookie | sessions | lines |\n\n<!-- end of rows -->\nend\n",
	} {
		if !strings.Contains(string(document), want) {
			t.Errorf("the document has no %q:\n%s", want, document)
		}
	}
	again, err := sample().Document(document, rows)
	if err != nil || !bytes.Equal(again, document) {
		t.Errorf("the second time: %v\n%s", err, again)
	}
	if _, err := DocumentRows([]byte("# Title\n"), rows); err == nil || !strings.Contains(err.Error(), "generated: rows") {
		t.Errorf("without markers: %v", err)
	}
}

// TestText: a terminal shows all series, comparisons and what is missing.
func TestText(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	if err := sample().Text(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"\nHEADERS: BROWSER", "\nHEADERS: MINIMAL", "\nstack ", "\nthree, browser ", "0.980", "not measured: redis: redis-server", "if other work went on"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q:\n%s", want, out.String())
		}
	}
}

func TestQuantiles(t *testing.T) {
	t.Parallel()
	var latencies []time.Duration
	var values []float64
	for i := range 101 {
		latencies = append(latencies, time.Duration(101-i))
		values = append(values, float64(100-i))
	}
	if got := Quantiles(latencies); got.P50 != 51 || got.P99 != 100 {
		t.Errorf("%+v, want 51 and 100", got)
	}
	if got, want := Distribute(values), (Distribution{0, 25, 50, 75, 100}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := Ratios([]float64{2, 6}, []float64{1, 2}); got.Median != 2.5 {
		t.Errorf("the median of the ratios is %v, want 2.5", got.Median)
	}
	if got := (Latency{}).String(); got != "–" {
		t.Errorf("no latencies are %q", got)
	}
}
