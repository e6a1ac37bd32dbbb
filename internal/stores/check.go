package stores

import (
	"fmt"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/check"
	"github.com/gatehouse-dev/gatehouse/internal/settings"
)

// AtRoot warns of a file at the root of the file system that was written as if
// its name were the host of a URL: sqlite://shop.db.
func AtRoot(proof, setting, value string) []check.Result {
	path, ok := strings.CutPrefix(value, "sqlite://")
	if !ok || strings.HasPrefix(path, "/") {
		return nil
	}
	return []check.Result{{
		Status: check.Warn, Proof: proof, What: fmt.Sprintf("%s is the file /%s", setting, path),
		Remedy: "write sqlite:" + path + " for one in the working directory",
	}}
}

// Result is the result of the probe of a store: a proof such as "database". The
// store's address says what it has proved. users need rights there.
func Result(proof, address, users string, err error) check.Result {
	what := "the " + proof + " answers, and its user has the rights that " + users + " need: "
	if strings.HasPrefix(address, "sqlite:") {
		what = "the " + proof + " can be written: "
	}
	if err != nil {
		what = strings.Join(strings.Fields(err.Error()), " ")
		return check.Result{Status: check.Wrong, Proof: proof, What: what}
	}
	return check.Good(proof, "%s", what+settings.Place(address))
}

// FilesResult is the result of the probe of the place for files.
func FilesResult(address string, err error) []check.Result {
	const proof = "files"
	switch path, isDir := strings.CutPrefix(address, "dir:"); {
	case err != nil:
		return []check.Result{{Status: check.Wrong, Proof: proof, What: strings.Join(strings.Fields(err.Error()), " ")}}
	case address == Memory:
		return []check.Result{{Status: check.Warn, Proof: proof, What: "files are kept in memory and end with the process"}}
	case isDir:
		return []check.Result{check.Good(proof, "a file could be written and removed in the directory %s", path)}
	}
	return []check.Result{check.Good(proof, "a file could be written and removed at %s", settings.Place(address))}
}
