package pgfiles_test

import (
	"net/url"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/gatehouse-dev/gatehouse/internal/pgfiles"
	"github.com/gatehouse-dev/gatehouse/internal/test/certtest"
	"github.com/gatehouse-dev/gatehouse/internal/test/pgtest"
)

// Connections follow a change of the authority, and outlast a file that is half
// written.
func TestBeforeConnect(t *testing.T) {
	t.Parallel()
	server := pgtest.StartTCP(t)
	before, after := certtest.New(t, "before"), certtest.New(t, "after")
	dir := t.TempDir()
	bundle := before.Write(t, dir, "ca")
	use := func(ca *certtest.Authority) {
		t.Helper()
		pair := ca.Issue(t, "127.0.0.1")
		server.UseCertificate(t, pair.Cert, pair.Key)
	}
	use(before)
	address := (&url.URL{Scheme: "postgres", User: url.UserPassword("postgres", pgtest.Password), Host: server.Addr(), Path: "/postgres",
		RawQuery: url.Values{"sslmode": {"verify-full"}, "sslrootcert": {bundle}}.Encode()}).String()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	prepare := pgfiles.BeforeConnect(address)
	connect := func() error {
		own := config.Copy()
		if err := prepare(t.Context(), own); err != nil {
			return err
		}
		conn, err := pgx.ConnectConfig(t.Context(), own)
		if err != nil {
			return err
		}
		return conn.Close(t.Context())
	}
	steps := []struct {
		name string
		do   func()
		ok   bool
	}{
		{"the first", func() {}, true},
		{"server of a new authority", func() { use(after) }, false},
		{"authority replaced", func() { after.Write(t, dir, "ca") }, true},
		{"half written", func() { must(t, os.WriteFile(bundle, after.PEM[:50], 0o600)) }, true},
		{"missing", func() { must(t, os.Remove(bundle)) }, true},
		{"the old authority again", func() { before.Write(t, dir, "ca") }, false},
	}
	for _, step := range steps {
		step.do()
		if err := connect(); (err == nil) != step.ok {
			t.Errorf("%s: got %v, want success %t", step.name, err, step.ok)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
