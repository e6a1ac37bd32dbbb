//go:build unix

package tlsfiles_test

import (
	"bytes"
	"log/slog"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/tlsfiles"
)

// Opening a pipe waits for a writer. A file that was replaced by one must stop neither the
// other files from being read again, nor the process from ending.
func TestPipes(t *testing.T) {
	t.Parallel()
	ca := certtest.New(t, "ca")
	var log bytes.Buffer
	f := tlsfiles.New(tlsfiles.Config{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	mount, other := newFolder(t, files(ca.Issue(t, "a.example"))), newFolder(t, files(ca.Issue(t, "a.example")))
	if _, err := f.Pair("first", "bff", mount.file("tls.crt"), mount.file("tls.key")); err != nil {
		t.Fatal(err)
	}
	second, err := f.Pair("second", "gateway", other.file("tls.crt"), other.file("tls.key"))
	if err != nil {
		t.Fatal(err)
	}
	mount.must(os.Remove(mount.file("tls.crt")))
	mount.must(syscall.Mkfifo(mount.file("tls.crt"), 0o600))
	other.swap(files(ca.Issue(t, "b.example")))
	f.Check(t.Context())
	f.Check(t.Context())
	if got := second.Certificate().Leaf.DNSNames[0]; got != "b.example" {
		t.Errorf("the certificate of the other files is of %s, want the new one", got)
	}
	if got := log.String(); !strings.Contains(got, "is a pipe or a device") {
		t.Errorf("logged %q, want what is wrong with the file", got)
	}
	if _, err := f.Authorities("third", mount.file("tls.crt")); err == nil || !strings.Contains(err.Error(), "is a pipe or a device") {
		t.Errorf("at the start: %v, want an error about the pipe", err)
	}
}
