// Package buildinfo tells which program is running. It leaves the stamping to
// the go command.
package buildinfo

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
)

// An Info is the origin of a program.
type Info struct {
	Version  string // of the main module, or "(devel)"
	Commit   string // the full hash; "" if the build did not know it, as with go install of a version
	Date     string // of the commit, RFC 3339 in UTC
	Modified bool   // the tree differed from the commit
	Go       string // the Go version and the platform: "go1.26.0 linux/amd64"
}

// Read returns the Info of the running program.
var Read = sync.OnceValue(func() Info {
	info, _ := debug.ReadBuildInfo()
	return parse(info)
})

func parse(build *debug.BuildInfo) Info {
	info := Info{Version: "(devel)", Go: runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH}
	if build == nil {
		return info
	}
	info.Version = cmp.Or(build.Main.Version, info.Version)
	for _, s := range build.Settings {
		switch s.Key {
		case "vcs.revision":
			info.Commit = s.Value
		case "vcs.time":
			info.Date = s.Value
		case "vcs.modified":
			info.Modified = s.Value == "true"
		}
	}
	return info
}

// String returns version, commit, date of the commit, and Go version in one line.
func (i Info) String() string {
	var b strings.Builder
	b.WriteString(i.Version)
	if i.Commit != "" {
		fmt.Fprintf(&b, " commit %s", i.Commit)
		if i.Modified {
			b.WriteString(" (modified)")
		}
	}
	if i.Date != "" {
		fmt.Fprintf(&b, " of %s", i.Date)
	}
	return b.String() + " " + i.Go
}
