package stores_test

import (
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/stores"
)

func TestWithAuthorities(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"rediss://r":                             "rediss://r?ca_file=%2Fa+b",
		"rediss-cluster://a,b":                   "rediss-cluster://a,b?ca_file=%2Fa+b",
		"rediss-sentinel://a/m?sentinel_user=u":  "rediss-sentinel://a/m?sentinel_user=u&ca_file=%2Fa+b",
		"postgres://u:p@db/x":                    "postgres://u:p@db/x?sslmode=verify-full&sslrootcert=%2Fa+b",
		"postgres://u@db/x?sslmode=verify-ca":    "postgres://u@db/x?sslmode=verify-ca&sslrootcert=%2Fa+b",
		"memory:":                                "memory:",
		"sqlite:x.db":                            "sqlite:x.db",
		"postgres://u@db/x?application_name=app": "postgres://u@db/x?application_name=app&sslmode=verify-full&sslrootcert=%2Fa+b",
	} {
		if got := stores.WithAuthorities(address, "/a b"); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if got := stores.WithAuthorities(address, ""); got != address {
			t.Errorf("without a file: got %s, want %s", got, address)
		}
	}
}
