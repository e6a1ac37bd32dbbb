package gatehouse

import (
	"context"
	"io"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

// TestHangupAtStart: a SIGHUP while the program starts does not end the process.
func TestHangupAtStart(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	opened := false
	app := App{Services: []Service{NewServiceFunc(&greeterDesc, greeterClient, registerGreeter, func(context.Context, Environment) (silent, error) {
		defer cancel()
		opened = true
		// A signal to the process may be handled by another thread, after Run has returned.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		_, _, errno := syscall.RawSyscall(syscall.SYS_TGKILL, uintptr(syscall.Getpid()), uintptr(syscall.Gettid()), uintptr(syscall.SIGHUP))
		if errno != 0 {
			return silent{}, errno
		}
		return silent{}, nil
	})}}
	var out strings.Builder
	Run(ctx, app, []string{"server", "--listen-grpc=127.0.0.1:0"},
		[]string{"GATEHOUSE_OIDC_ISSUER=http://127.0.0.1:1", "GATEHOUSE_AUDIENCE=https://api.example"}, io.Discard, &out)
	if !opened {
		t.Errorf("the service was not opened:\n%s", out.String())
	}
}
