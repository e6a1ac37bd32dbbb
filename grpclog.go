package gatehouse

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/grpclog"
)

// gRPC and grpc-gateway write to one logger of the whole process, by default as
// lines of text to stderr. It is to be set before anything else of gRPC runs,
// and gets the program's logger when that exists.
var grpcLogger = &grpcLog{}

func init() { grpclog.SetLoggerV2(grpcLogger) }

// grpcLog is a grpclog.LoggerV2. What fails because of a call or a connection
// is an error of that already; here it is a detail.
type grpcLog struct{ logger atomic.Pointer[slog.Logger] }

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
