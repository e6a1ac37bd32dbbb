package headers_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/headers"
)

// Each byte is judged alike at each place of values of all lengths.
func TestPrintable(t *testing.T) {
	t.Parallel()
	for length := range 20 {
		value := strings.Repeat("~ a", 7)[:length]
		if !headers.Printable(value) {
			t.Errorf("%q is not printable", value)
		}
		for at := range length {
			for c := range 256 {
				b := []byte(value)
				b[at] = byte(c)
				if got, want := headers.Printable(string(b)), ' ' <= c && c <= '~'; got != want {
					t.Fatalf("%q: got %t, want %t", b, got, want)
				}
			}
		}
	}
}

func BenchmarkPrintable(b *testing.B) {
	value := strings.Repeat("token", 180)
	for b.Loop() {
		headers.Printable(value)
	}
}
