// Package grpclog owns the log of gRPC and grpc-gateway, which is one for the process.
// Importing it replaces that log. It leaves what is logged of calls to the parts.
package grpclog

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/grpclog"
)

// current replaces a logger that writes text to stderr. It must be replaced before gRPC is used, so
// importing this package replaces it. It discards until Use sets its logger.
var current = &handler{}

func init() { grpclog.SetLoggerV2(current) }

// Use sends the log of gRPC to logger.
func Use(logger *slog.Logger) { current.logger.Store(logger) }

// A handler is a grpclog.LoggerV2. It lowers levels: a failed call or connection is
// reported as an error elsewhere.
type handler struct{ logger atomic.Pointer[slog.Logger] }

// log logs a text of gRPC on one line: its Ln methods end it with a line break, and
// it may quote bytes of a peer that are not UTF-8.
func (g *handler) log(level slog.Level, text string) {
	if logger := g.logger.Load(); logger != nil {
		logger.Log(context.Background(), level, "grpc", "text", strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD"))
	}
}

func (g *handler) Info(...any)                    {}
func (g *handler) Infoln(...any)                  {}
func (g *handler) Infof(string, ...any)           {}
func (g *handler) Warning(args ...any)            { g.log(slog.LevelDebug, fmt.Sprint(args...)) }
func (g *handler) Warningln(args ...any)          { g.log(slog.LevelDebug, fmt.Sprintln(args...)) }
func (g *handler) Warningf(f string, args ...any) { g.log(slog.LevelDebug, fmt.Sprintf(f, args...)) }
func (g *handler) Error(args ...any)              { g.log(slog.LevelWarn, fmt.Sprint(args...)) }
func (g *handler) Errorln(args ...any)            { g.log(slog.LevelWarn, fmt.Sprintln(args...)) }
func (g *handler) Errorf(f string, args ...any)   { g.log(slog.LevelWarn, fmt.Sprintf(f, args...)) }
func (g *handler) Fatal(args ...any)              { g.log(slog.LevelError, fmt.Sprint(args...)) }
func (g *handler) Fatalln(args ...any)            { g.log(slog.LevelError, fmt.Sprintln(args...)) }
func (g *handler) Fatalf(f string, args ...any)   { g.log(slog.LevelError, fmt.Sprintf(f, args...)) }
func (g *handler) V(int) bool                     { return false }
