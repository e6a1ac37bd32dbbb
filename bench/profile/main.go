//go:build linux

// Command profile makes the profile by which cmd/gatehouse is built (default.pgo): it lets the
// benchmark send its requests to all parts of Gatehouse, with a program that profiles itself, and
// merges the profiles.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/pprof"

	"github.com/google/pprof/profile"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// rows are measured in turns: everything in one process, and each part alone.
const rows = "gateway-server|serve-sqlite|bff-gateway|three"

// folder gets the profiles. It is set in the build that profiles itself.
var folder string

func main() {
	if folder != "" {
		os.Exit(profiled())
	}
	out := flag.String("o", "../cmd/gatehouse/default.pgo", "`file` to write")
	rounds := flag.Int("rounds", 30, "turns of each row")
	flag.Parse()
	if err := run(*out, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		os.Exit(1)
	}
}

// profiled runs the program with the sample application and profiles it.
func profiled() int {
	file, err := os.Create(filepath.Join(folder, rand.Text()+".pprof"))
	if err == nil {
		err = pprof.StartCPUProfile(file)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "profile:", err)
		return 1
	}
	defer pprof.StopCPUProfile()
	ctx, stop := lifecycle.NotifyContext(context.Background())
	defer stop()
	return gatehouse.Run(ctx, audioarchive.App(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
}

// run makes the profile. It is called in the folder of the module.
func run(out string, rounds int) error {
	dir, err := os.MkdirTemp("", "gatehouse-profile")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "gatehouse")
	for _, args := range [][]string{
		{"build", "-pgo=off", "-ldflags=-X main.folder=" + dir, "-o", program, "./profile"},
		{"run", ".", "-gatehouse=" + program, "-rows=" + rows, "-latency=false", fmt.Sprint("-rounds=", rounds)},
	} {
		cmd := exec.Command("go", args...)
		cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("go %s: %w", args[0], err)
		}
	}
	merged, err := merge(dir)
	if err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	return errors.Join(merged.Write(file), file.Close())
}

// merge returns the sum of the profiles in a folder, with what the compiler reads of them: functions
// and lines, and no path of a file.
func merge(dir string) (*profile.Profile, error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.pprof"))
	if err != nil {
		return nil, err
	}
	var all []*profile.Profile
	for _, path := range paths {
		file, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		p, err := profile.Parse(file)
		_ = file.Close() // it was only read
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, s := range p.Sample {
			s.Label, s.NumLabel, s.NumUnit = nil, nil, nil
		}
		for _, m := range p.Mapping {
			m.File, m.BuildID = "", ""
		}
		const inlined, functions, files, lines, columns, addresses = true, true, false, true, false, false
		if err := p.Aggregate(inlined, functions, files, lines, columns, addresses); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		all = append(all, p)
	}
	merged, err := profile.Merge(all)
	if err != nil {
		return nil, err
	}
	merged.TimeNanos, merged.Comments = 0, nil
	return merged.Compact(), nil
}
