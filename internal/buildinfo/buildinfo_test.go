package buildinfo

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestString(t *testing.T) {
	t.Parallel()
	const commit = "0123456789abcdef0123456789abcdef01234567"
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: commit}, {Key: "vcs.time", Value: "2026-11-27T08:00:00Z"}, {Key: "vcs.modified", Value: "true"}}
	for _, c := range []struct {
		name  string
		build *debug.BuildInfo
		want  string
	}{
		{"no build information", nil, "(devel) go"},
		{"go install of a version", &debug.BuildInfo{Main: debug.Module{Version: "v0.2.0"}}, "v0.2.0 go"},
		{"release", &debug.BuildInfo{Main: debug.Module{Version: "v0.2.0"}, Settings: vcs[:2]}, "v0.2.0 commit " + commit + " of 2026-11-27T08:00:00Z go"},
		{"modified tree", &debug.BuildInfo{Settings: vcs}, "(devel) commit " + commit + " (modified) of 2026-11-27T08:00:00Z go"},
	} {
		if got := parse(c.build).String(); !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: got %q, want %q first", c.name, got, c.want)
		}
	}
}
