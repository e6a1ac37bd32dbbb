package listen_test

import (
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/listen"
)

func TestValidate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		bff, gateway string
		want         string // in the error; "" for none
	}{
		"two ports":        {":3000", "127.0.0.1:5000", ""},
		"free ports":       {":0", ":0", ""},
		"one port":         {":3000", ":3000", `ListenGateway ":3000" is also ListenBFF`},
		"one socket":       {"unix:/run/x", "unix:/run/x", `ListenGateway "unix:/run/x" is also ListenBFF`},
		"number alone":     {"3000", ":5000", "did you mean :3000?"},
		"host alone":       {"localhost", ":5000", "give HOST:PORT of this machine"},
		"port of no range": {":65536", ":5000", `has the port "65536"`},
	} {
		err := listen.Validate([]listen.Address{{Field: "ListenBFF", Value: c.bff}, {Field: "ListenGateway", Value: c.gateway}})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
}

func TestMode(t *testing.T) {
	t.Parallel()
	if mode, err := listen.Mode("0660"); err != nil || mode != 0o660 {
		t.Errorf("0660: got %v, %v", mode, err)
	}
	for _, octal := range []string{"", "rw", "0888", "04755"} {
		if mode, err := listen.Mode(octal); err == nil {
			t.Errorf("%q: got %v, want an error", octal, mode)
		}
	}
}
