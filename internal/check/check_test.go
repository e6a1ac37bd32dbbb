package check_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/check"
)

func TestReport(t *testing.T) {
	t.Parallel()
	r := &check.Report{
		Register: []check.Registration{{Name: "redirect URI", Value: "https://shop.example/<cb>"}},
		Routes:   []check.Route{{Path: "/a", To: "gateway", Token: "user", Public: true}, {Path: "/orders", To: "http://o:1", Token: "none"}},
		Methods:  []check.Method{{Name: "/a.B/C", Routes: []string{"GET /c"}, Policy: "token"}, {Name: "/a.B/D", Policy: "public"}},
	}
	r.Add(
		check.Result{Status: check.OK, Proof: "settings", What: "fine"},
		check.Result{Status: check.Warn, Proof: "refresh", What: "short", Remedy: "longer"},
		check.Result{Status: check.Unknown, Proof: "clock", What: "the time", Optional: true},
	)
	if r.Wrong() || r.Unproved() {
		t.Errorf("wrong %t, unproved %t, want neither: optional results do not count", r.Wrong(), r.Unproved())
	}
	r.Add(check.Result{Status: check.Unknown, Proof: "credential", What: "the secret", Remedy: "try"})
	if r.Wrong() || !r.Unproved() {
		t.Errorf("wrong %t, unproved %t, want unproved", r.Wrong(), r.Unproved())
	}
	r.AddErrors("settings", errors.Join(errors.New("one"), errors.New("two")))
	if !r.Wrong() {
		t.Error("Wrong() = false after AddErrors")
	}
	var text bytes.Buffer
	r.Text(&text)
	const want = `ok    fine
warn  short; longer
?     not known: the time
?     not known: the secret; try
WRONG one
WRONG two

To be registered at the provider:
  redirect URI  https://shop.example/<cb>

ROUTE    TO          TOKEN  WITHOUT A SESSION
/a       gateway     user   passes
/orders  http://o:1  none   login

METHOD  REST    POLICY
/a.B/C  GET /c  token
/a.B/D  -       public
`
	if text.String() != want {
		t.Errorf("got\n%s\nwant\n%s", text.String(), want)
	}
	var out bytes.Buffer
	if err := r.JSON(&out); err != nil {
		t.Fatal(err)
	}
	var back check.Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || !reflect.DeepEqual(&back, r) {
		t.Errorf("got %+v, %v, want %+v", back, err, r)
	}
}
