package logs

import (
	"context"
	"log"
	"log/slog"
	"strings"
)

// ErrorLog returns a logger for the field of this name in http.Server and ReverseProxy,
// which write texts. Failed TLS handshakes are for debugging: port scanners make more of
// them than any fault.
func ErrorLog(l *slog.Logger) *log.Logger { return log.New(errorLog{l}, "", 0) }

type errorLog struct{ logger *slog.Logger }

func (e errorLog) Write(p []byte) (int, error) {
	text, level := strings.TrimSpace(string(p)), slog.LevelWarn
	if strings.Contains(text, "TLS handshake error") {
		level = slog.LevelDebug
	}
	e.logger.LogAttrs(context.Background(), level, "net/http reports", slog.String("text", text))
	return len(p), nil
}
