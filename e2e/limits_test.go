package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// The limits on streams and connections are those of the settings, and a full port shows in log and
// metrics.
func TestLimitSettings(t *testing.T) {
	t.Parallel()
	bff, gateway, grpc, admin := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	base := "http://localhost:" + portOf(bff)
	_, env, _ := startGated(t, base, time.Hour)
	p := gatehouse(t, append(env, "GATEHOUSE_LISTEN_BFF="+bff, "GATEHOUSE_LISTEN_GATEWAY="+gateway, "GATEHOUSE_LISTEN_GRPC="+grpc,
		"GATEHOUSE_LISTEN_ADMIN="+admin, "GATEHOUSE_DATABASE_URL=memory:", "GATEHOUSE_SESSION_STORE=memory:",
		"GATEHOUSE_H2C=true", "GATEHOUSE_HTTP2_STREAMS=7", "GATEHOUSE_GRPC_STREAMS=9", "GATEHOUSE_MAX_CONNECTIONS=3"), "serve")
	p.ready(t, base+"/readyz")
	streams := func(address string) (uint32, error) {
		c, err := net.Dial("tcp", address)
		if err != nil {
			return 0, err
		}
		t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		framer := http2.NewFramer(c, c)
		if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
			return 0, err
		}
		if err := framer.WriteSettings(); err != nil {
			return 0, err
		}
		for {
			frame, err := framer.ReadFrame()
			if err != nil {
				return 0, err
			}
			if settings, ok := frame.(*http2.SettingsFrame); ok && !settings.IsAck() {
				n, _ := settings.Value(http2.SettingMaxConcurrentStreams)
				return n, nil
			}
		}
	}
	for address, want := range map[string]uint32{bff: 7, gateway: 7, grpc: 9} {
		if got, err := streams(address); err != nil || got != want {
			t.Errorf("%s: MAX_CONCURRENT_STREAMS is %d, %v, want %d", address, got, err, want)
		}
	}
	for range 2 { // with the one above, all that the port may have
		if _, err := streams(grpc); err != nil {
			t.Fatal(err)
		}
	}
	p.said(t, "port is full: further connections wait")
	eventually(t, "the metric", func() error {
		res, err := http.Get("http://" + admin + "/metrics")
		if err != nil {
			return err
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "gatehouse_limit_rejections_total") && strings.Contains(line, `"connections"`) && strings.HasSuffix(line, " 1\n") {
				return nil
			}
		}
		return fmt.Errorf("no count of 1 for connections in:\n%s", text)
	})
}
