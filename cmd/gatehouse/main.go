// Command gatehouse owns the program's flags, environment, .env and
// configuration file, and turns them into an app.Config. It leaves everything
// that runs to internal/app. It alone reads the environment.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
