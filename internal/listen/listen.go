// Package listen owns the forms of addresses to listen on: HOST:PORT, and Unix sockets with
// their permissions. It leaves listening to package lifecycle.
package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strconv"

	"github.com/gatehouse-dev/gatehouse/internal/invalid"
	"github.com/gatehouse-dev/gatehouse/internal/loopback"
)

// An Address is the value of a field.
type Address struct{ Field, Value string }

// Validate returns errors about addresses of the wrong form, and about two parts at one
// address. It contacts nothing.
func Validate(addresses []Address) error {
	var errs []error
	taken := map[string]string{}
	for _, l := range addresses {
		bad := func(problem, remedy string) {
			errs = append(errs, invalid.Field(l.Field, l.Value, problem, remedy))
		}
		if _, isSocket := loopback.Socket(l.Value); isSocket {
			if taken[l.Value] != "" {
				bad("is also "+taken[l.Value], "give each part an address of its own")
			}
			taken[l.Value] = l.Field
			continue
		}
		_, port, err := net.SplitHostPort(l.Value)
		_, numberErr := strconv.ParseUint(l.Value, 10, 16)
		switch {
		case err != nil && numberErr == nil:
			bad("is not an address with a port", "did you mean :"+l.Value+"?")
		case err != nil:
			bad("is not an address with a port",
				"give HOST:PORT of this machine, such as 127.0.0.1:3000, :3000 for all its addresses, or unix:PATH")
		case !isPort(port):
			bad(fmt.Sprintf("has the port %q, which is neither a number up to 65535 nor the name of a service", port), "correct the port")
		case taken[l.Value] != "" && port != "0":
			bad("is also "+taken[l.Value], "give each part an address of its own")
		}
		taken[l.Value] = l.Field
	}
	return errors.Join(errs...)
}

// isPort reports whether a port, by number or by name, can be listened on.
func isPort(port string) bool {
	_, err := net.DefaultResolver.LookupPort(context.Background(), "tcp", port) // reads a file, at most
	return err == nil
}

// Mode reads the permissions of Unix sockets, in octal.
func Mode(octal string) (fs.FileMode, error) {
	mode, err := strconv.ParseUint(octal, 8, 32)
	if err != nil || fs.FileMode(mode)&^fs.ModePerm != 0 {
		return 0, errors.New("is no mode of a file; give one in octal, such as 0660")
	}
	return fs.FileMode(mode), nil
}
