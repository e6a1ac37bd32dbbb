// Package tlsfiles owns certificates, keys, CA bundles and secrets in files of
// operators: it reads them, reads them again when they change, and makes TLS
// configurations that always use the latest ones. It leaves the names of files,
// and who listens and dials, to the program.
package tlsfiles

import (
	"bytes"
	"context"
	"crypto/sha256"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/gatehouse-dev/gatehouse/internal/metrics"
	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// Interval is how often files are compared with what was read of them. Comparing
// content works on every file system, and with the symbolic links that Kubernetes
// replaces; notifications do not.
const Interval = 5 * time.Second

// Config configures Files. Every field may be zero.
type Config struct {
	// Now is the clock of certificates. Default: time.Now.
	Now func() time.Time
	// Logger gets a line when a file was read again, when what it has cannot be
	// used, and when a certificate is about to expire. Default: none.
	Logger *slog.Logger
	// Changed is called with the name of a setting whose file was read again.
	Changed func(name string)
}

// Files are the files that a program uses while it runs. They are safe for
// concurrent use.
type Files struct {
	now     func() time.Time
	logger  *slog.Logger
	changed func(name string)

	checking sync.Mutex // held during a check

	mu      sync.Mutex // of the lists
	sources []*source
	pairs   []*Pair
}

// New returns Files that watch nothing yet.
func New(cfg Config) *Files {
	f := &Files{now: cfg.Now, logger: cfg.Logger, changed: cfg.Changed}
	if f.now == nil {
		f.now = time.Now
	}
	if f.logger == nil {
		f.logger = slog.New(slog.DiscardHandler)
	}
	if f.changed == nil {
		f.changed = func(string) {}
	}
	return f
}

// A source is what is read together: a certificate and its key, or one file.
type source struct {
	name  string
	paths []string
	use   func(contents [][]byte) (changed bool, err error)

	used    [sha256.Size]byte // of what is in use
	bad     [sha256.Size]byte // of what the last check could not use
	waiting bool              // the last check could not use bad
	told    bool              // the log has it
}

// add reads a source for the first time, and watches it if that succeeds.
func (f *Files) add(s *source) error {
	contents, err := s.read()
	if err != nil {
		return err
	}
	if _, err := s.use(contents); err != nil {
		return err
	}
	s.used = sum(contents)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sources = append(f.sources, s)
	return nil
}

// Watch calls use with the content of a file at the first check, and whenever it has
// changed. use reports whether that changed what is in use; an error keeps it, and
// is logged, so it must not quote the file. name is that of the setting.
func (f *Files) Watch(name, path string, use func(content []byte) (changed bool, err error)) {
	s := &source{name: name, paths: []string{path}, use: func(contents [][]byte) (bool, error) { return use(contents[0]) }}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sources = append(f.sources, s)
}

// Run checks all files every Interval until the context ends.
func (f *Files) Run(ctx context.Context) error {
	ticker := time.NewTicker(Interval)
	defer ticker.Stop()
	f.Check(ctx)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			f.Check(ctx)
		}
	}
}

// Check reads all files once, uses what has changed, and warns of certificates
// that are about to expire.
func (f *Files) Check(ctx context.Context) {
	f.checking.Lock()
	defer f.checking.Unlock()
	f.mu.Lock()
	sources, pairs := f.sources, f.pairs
	f.mu.Unlock()
	for _, s := range sources {
		f.check(ctx, s)
	}
	for _, p := range pairs {
		f.warn(ctx, p)
	}
}

// check reads a source again. What cannot be used is logged once, and only if the
// next check finds the same: it may be half written, or a certificate whose key
// comes a moment later.
func (f *Files) check(ctx context.Context, s *source) {
	contents, err := s.read()
	var now [sha256.Size]byte // zero if a file cannot be read
	if err == nil {
		if now = sum(contents); now == s.used {
			s.waiting = false
			return
		}
		var changed bool
		if changed, err = s.use(contents); err == nil {
			s.used, s.waiting = now, false
			if changed {
				f.logger.InfoContext(ctx, "setting changed at run time", "setting", s.name)
				f.changed(s.name)
			}
			return
		}
	}
	if again := s.waiting && s.bad == now; !again {
		s.bad, s.waiting, s.told = now, true, false
	} else if !s.told {
		s.told = true
		f.logger.WarnContext(ctx, "changed file not usable: the content read before stays in use", "setting", s.name, "err", err)
	}
}

func (s *source) read() ([][]byte, error) {
	contents := make([][]byte, len(s.paths))
	for i, path := range s.paths {
		var err error
		if contents[i], err = textfile.Regular(path); err != nil {
			return nil, &fileError{path, err}
		}
	}
	return contents, nil
}

// sum returns a hash of contents, so that no secret is kept a second time.
func sum(contents [][]byte) [sha256.Size]byte {
	var sums bytes.Buffer
	for _, content := range contents {
		one := sha256.Sum256(content)
		sums.Write(one[:])
	}
	return sha256.Sum256(sums.Bytes())
}

// A fileError is about the file at path.
type fileError struct {
	path string
	err  error
}

func (e *fileError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// Observe has the ends of the certificates collected.
func (f *Files) Observe(meters metric.MeterProvider) {
	metrics.ObserveGauges(meters, metrics.CertificateExpiry, func(_ context.Context, observe func(float64, ...string)) {
		for _, e := range f.Expiries() {
			observe(float64(e.At.Unix()), e.Role)
		}
	})
}
