package gatehouse

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/grpclog"
)

// grpcLogger is the logger of gRPC and grpc-gateway, which is one for the process
// and writes text to stderr by default. It must be replaced before gRPC is used,
// so importing this package replaces it. It discards until Run sets its logger.
var grpcLogger = &grpcLog{}

func init() { grpclog.SetLoggerV2(grpcLogger) }

// grpcLog is a grpclog.LoggerV2. It lowers levels: a failed call or connection is
// reported as an error elsewhere.
type grpcLog struct{ logger atomic.Pointer[slog.Logger] }

// log logs a text of gRPC on one line: its Ln methods end it with a line break, and
// it may quote bytes of a peer that are not UTF-8.
func (g *grpcLog) log(level slog.Level, text string) {
	if logger := g.logger.Load(); logger != nil {
		logger.Log(context.Background(), level, "grpc", "text", strings.ToValidUTF8(strings.TrimSpace(text), "\uFFFD"))
	}
}

func (g *grpcLog) Info(...any)                    {}
func (g *grpcLog) Infoln(...any)                  {}
func (g *grpcLog) Infof(string, ...any)           {}
func (g *grpcLog) Warning(args ...any)            { g.log(slog.LevelDebug, fmt.Sprint(args...)) }
func (g *grpcLog) Warningln(args ...any)          { g.log(slog.LevelDebug, fmt.Sprintln(args...)) }
func (g *grpcLog) Warningf(f string, args ...any) { g.log(slog.LevelDebug, fmt.Sprintf(f, args...)) }
func (g *grpcLog) Error(args ...any)              { g.log(slog.LevelWarn, fmt.Sprint(args...)) }
func (g *grpcLog) Errorln(args ...any)            { g.log(slog.LevelWarn, fmt.Sprintln(args...)) }
func (g *grpcLog) Errorf(f string, args ...any)   { g.log(slog.LevelWarn, fmt.Sprintf(f, args...)) }
func (g *grpcLog) Fatal(args ...any)              { g.log(slog.LevelError, fmt.Sprint(args...)) }
func (g *grpcLog) Fatalln(args ...any)            { g.log(slog.LevelError, fmt.Sprintln(args...)) }
func (g *grpcLog) Fatalf(f string, args ...any)   { g.log(slog.LevelError, fmt.Sprintf(f, args...)) }
func (g *grpcLog) V(int) bool                     { return false }
