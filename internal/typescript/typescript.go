package typescript

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// The parts of the output.
const (
	Connect = "connect" // messages and services, for clients of Connect and gRPC-Web
	REST    = "rest"    // types of the REST paths
	Browser = "browser" // the npm package gatehouse-browser
)

// Parts are all parts of the output.
var Parts = []string{Connect, REST, Browser}

// A Config is what Run generates, and where.
type Config struct {
	// Services are the full names of the services that pages can call. Their descriptors
	// are linked.
	Services []string
	// Comments is a FileDescriptorSet with source info for the .proto files.
	Comments []byte
	// OpenAPI is the OpenAPI document.
	OpenAPI []byte
	// Browser has the files of the browser package.
	Browser fs.FS
	// Parts are the parts to write.
	Parts []string
	// Out is the output directory, in a directory with a package.json.
	Out string
	// Check makes Run compare the directory instead of writing it.
	Check bool
	// Install makes Run add to package.json what the generated code needs.
	Install bool
	// Log gets one line for each thing that was done.
	Log io.Writer
}

// Run writes the TypeScript of an application. It returns an error if a file would be overwritten
// that it has not written, and with Check if a file is not as generated.
func Run(ctx context.Context, cfg Config) error {
	front, err := findPage(cfg.Out)
	if err != nil {
		return err
	}
	generated, err := generate(ctx, cfg, front.npmrc)
	if err != nil {
		return err
	}
	out, err := openOutput(cfg.Out)
	if err != nil {
		return err
	}
	differences, err := out.compare(generated)
	if err == nil && !cfg.Check {
		err = out.write(generated, differences)
	}
	if err := errors.Join(err, out.close()); err != nil {
		return err
	}
	if cfg.Check && len(differences) > 0 {
		stale := make([]string, len(differences))
		for i, d := range differences {
			stale[i] = fmt.Sprintf("%s: %s", filepath.Join(cfg.Out, filepath.FromSlash(d.path)), d.state)
		}
		return fmt.Errorf("stale; run this without --check, and commit the result:\n%s", strings.Join(stale, "\n"))
	}
	fmt.Fprintf(cfg.Log, "%s: %d files, %d written or deleted\n", cfg.Out, len(generated)+1, len(differences))
	if cfg.Check {
		return nil
	}
	packages, needed, err := front.lacks(cfg.Out, cfg.Parts)
	switch {
	case err != nil || len(packages) == 0:
		return err
	case cfg.Install:
		return front.add(ctx, packages, cfg.Log)
	case needed:
		fmt.Fprintf(cfg.Log, "The front end needs packages for this code. Run this with --install, or run:\n  %s\n", front.command(packages))
	}
	return nil
}

// generate returns all files.
func generate(ctx context.Context, cfg Config, npmrc []byte) (files, error) {
	generated := files{}
	if slices.Contains(cfg.Parts, Browser) {
		session, err := browser(cfg.Browser)
		if err != nil {
			return nil, err
		}
		maps.Copy(generated, session)
	}
	connect, rest := slices.Contains(cfg.Parts, Connect), slices.Contains(cfg.Parts, REST)
	if !connect && !rest {
		return generated, nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no directory for the generators: %w", err)
	}
	t, err := install(ctx, filepath.Join(cache, "gatehouse"), npmrc, cfg.Log)
	if err != nil {
		return nil, err
	}
	if connect {
		request, stale, err := pluginRequest(cfg.Services, cfg.Comments)
		if err != nil {
			return nil, err
		}
		for _, file := range stale {
			fmt.Fprintf(cfg.Log, "note: the comments of %s are left out, because they are of another version of it; run buf build again, and build the program with its output\n", file)
		}
		for _, service := range notLinked(cfg.Comments) {
			fmt.Fprintf(cfg.Log, "note: %s is left out, because the program does not have it; add it to App.Services, and run this command again\n", service)
		}
		messages, err := t.connect(ctx, request)
		if err != nil {
			return nil, err
		}
		maps.Copy(generated, messages)
	}
	if rest {
		types, err := t.rest(ctx, cfg.OpenAPI)
		if err != nil {
			return nil, err
		}
		maps.Copy(generated, types)
	}
	return generated, nil
}
