package stores

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gatehouse-dev/gatehouse/bff/session/postgres"
	"github.com/gatehouse-dev/gatehouse/bff/session/redis"
	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	denylistredis "github.com/gatehouse-dev/gatehouse/server/authn/denylist/redis"
)

// Memory is the address of a store that ends with the process.
const Memory = "memory:"

// Kind returns the kind of a store by its address: "memory", "sqlite", "postgres",
// "redis", or "" for none that is known.
func Kind(value string) string {
	scheme, rest, _ := strings.Cut(value, ":")
	switch scheme {
	case "memory":
		if rest == "" {
			return scheme
		}
	case "sqlite":
		if rest != "" {
			return scheme
		}
	case "postgres", "postgresql":
		if strings.HasPrefix(rest, "//") {
			return "postgres"
		}
	case "redis", "rediss", "redis-cluster", "rediss-cluster", "redis-sentinel", "rediss-sentinel":
		if strings.HasPrefix(rest, "//") {
			return "redis"
		}
	}
	return ""
}

// Shared reports whether several processes can open a session store.
func Shared(address string) bool {
	kind := Kind(address)
	return kind == "postgres" || kind == "redis"
}

// ValidateSessions returns what is wrong with the form of a session store's address,
// which is the value of a field. It contacts nothing.
func ValidateSessions(field, value string) error {
	fields := map[string]string{"URL": field}
	switch Kind(value) {
	case "sqlite":
		return validateFolder(field, value)
	case "postgres":
		return invalid.Renamed(postgres.Config{URL: value}.Validate(), fields)
	case "redis":
		return invalid.Renamed(redis.Config{URL: value}.Validate(), fields)
	case "memory":
		return nil
	}
	return invalid.Field(field, value, "is no session store", "give memory:, sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, "+
		"redis://HOST:PORT, redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER")
}

// ValidateDenylist returns what is wrong with the address of a denylist. One in memory
// needs all that use it in one process.
func ValidateDenylist(field, value string, oneProcess bool) error {
	switch {
	case value == "":
		return nil
	case strings.HasPrefix(value, "redis://") || strings.HasPrefix(value, "rediss://"):
		return invalid.Renamed(denylistredis.Config{URL: value}.Validate(), map[string]string{"URL": field})
	case value != Memory:
		return invalid.Field(field, value, "is no denylist", "give memory: or redis://HOST:PORT")
	case !oneProcess:
		return invalid.Field(field, value,
			"belongs to one process, and bff and server are two", "give redis://HOST:PORT to both")
	}
	return nil
}

// ValidateDatabase returns what is wrong with the form of the address of the services'
// data.
func ValidateDatabase(field, value string) error {
	scheme, rest, _ := strings.Cut(value, ":")
	if value != Memory && (!slices.Contains([]string{"sqlite", "postgres", "postgresql"}, scheme) || rest == "") {
		return invalid.Field(field, value, "is no database",
			"give sqlite:PATH, postgres://USER:PASSWORD@HOST/NAME, or memory: for data that ends with the process")
	}
	return validateFolder(field, value)
}

// ValidateFiles returns an error about a place for files. Whether there is a driver
// for a bucket's URL is known when it is opened.
func ValidateFiles(field, value string) error {
	path, isDir := strings.CutPrefix(value, "dir:")
	if value == Memory || isDir && path != "" || !isDir && strings.Contains(value, "://") {
		return nil
	}
	return invalid.Field(field, value, "is no place for files",
		"give dir:PATH, s3://BUCKET?region=REGION, or memory: for files that end with the process")
}

// validateFolder returns an error about a sqlite:PATH whose folder does not exist.
func validateFolder(field, value string) error {
	path, ok := strings.CutPrefix(value, "sqlite:")
	if !ok || path == "" {
		return nil
	}
	if info, err := os.Stat(filepath.Dir(path)); err != nil || !info.IsDir() {
		return invalid.Field(field, value, "is in the folder "+filepath.Dir(path)+", which does not exist",
			"make it, writable by the user that runs gatehouse")
	}
	return nil
}

// CannotVerify returns why the certificate of a store is not verified by a CA file,
// "" if it is.
func CannotVerify(address string) (problem, remedy string) {
	scheme, _, _ := strings.Cut(address, ":")
	_, query, _ := strings.Cut(address, "?")
	parameters, _ := url.ParseQuery(query)
	switch {
	case strings.HasPrefix(scheme, "rediss"):
		if parameters.Has("ca_file") {
			return "has a ca_file of its own", "leave one of them out"
		}
		return "", ""
	case scheme == "postgres" || scheme == "postgresql":
		if parameters.Has("sslrootcert") {
			return "has an sslrootcert of its own", "leave one of them out"
		}
		if mode := parameters.Get("sslmode"); mode != "" && mode != "verify-full" && mode != "verify-ca" {
			return "has sslmode=" + mode + ", which verifies no certificate", "remove sslmode, or write sslmode=verify-full"
		}
		return "", ""
	case strings.HasPrefix(scheme, "redis"):
		return "has no TLS", "write rediss instead of redis"
	}
	return "is reached without TLS", "leave it out"
}

// WithAuthorities returns the address of a store with a CA file as its parameter.
// Stores read the file again for each connection.
func WithAuthorities(address, file string) string {
	join := "?"
	if strings.Contains(address, "?") {
		join = "&"
	}
	switch {
	case file == "":
		return address
	case strings.HasPrefix(address, "rediss"):
		return address + join + "ca_file=" + url.QueryEscape(file)
	case !strings.HasPrefix(address, "postgres"): // the command check opens stores in memory
		return address
	case !strings.Contains(address, "sslmode="):
		join += "sslmode=verify-full&"
	}
	return address + join + "sslrootcert=" + url.QueryEscape(file)
}
