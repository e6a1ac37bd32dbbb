package arrival_test

import (
	"errors"
	"io"
	"net"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/arrival"
)

// A connection of a port can be closed in one direction: net/http's proxy ends a WebSocket so when
// its server has gone, and waits for the browser to do the same.
func TestPortClosesOneDirection(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := arrival.Port(inner)
	t.Cleanup(func() { _ = port.Close() })
	client, err := net.Dial("tcp", inner.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	accepted, err := port.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	half, ok := accepted.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("a %T cannot be closed in one direction", accepted)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ended <- err
	}()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v, want EOF", err)
	}
	if _, err := io.WriteString(client, "x"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(accepted, make([]byte, 1)); err != nil {
		t.Errorf("the other direction: %v", err)
	}
}

// Closing a port ends an Accept.
func TestPortCloses(t *testing.T) {
	t.Parallel()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := arrival.Port(inner)
	ended := make(chan error, 1)
	go func() {
		_, err := port.Accept()
		ended <- err
	}()
	if err := port.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v, want net.ErrClosed", err)
	}
}
