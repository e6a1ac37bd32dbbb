package token_test

import (
	"encoding/base64"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/token"
)

func TestReadUnverified(t *testing.T) {
	t.Parallel()
	b64 := base64.RawURLEncoding.EncodeToString
	jwt := func(payload string) string {
		return b64([]byte(`{"alg":"HS512","typ":"at+jwt"}`)) + "." + b64([]byte(payload)) + "." + b64([]byte("signature"))
	}
	for _, test := range []struct {
		name, raw string
		want      token.Unverified
		err       string // "" for none
		opaque    bool
	}{
		{name: "a string", raw: jwt(`{"aud":"orders","exp":1700000000}`), want: token.Unverified{Audience: []string{"orders"}, Expiry: time.Unix(1700000000, 0)}},
		{name: "a list", raw: jwt(`{"aud":["a","b"],"sub":null}`), want: token.Unverified{Audience: []string{"a", "b"}}},
		{name: "no aud", raw: jwt(`{}`)},
		{name: "aud null", raw: jwt(`{"aud":null}`), err: "aud"},
		{name: "aud a number", raw: jwt(`{"aud":7}`), err: "aud"},
		{name: "aud mixed", raw: jwt(`{"aud":["a",7]}`), err: "aud"},
		{name: "aud twice", raw: jwt(`{"aud":"a","aud":"b"}`), err: "twice"},
		{name: "exp a string", raw: jwt(`{"aud":"a","exp":"1"}`), err: "exp"},
		{name: "bound to a key", raw: jwt(`{"aud":"a","cnf":{"jkt":"x"}}`), err: "cnf"},
		{name: "deep", raw: jwt(`{"aud":"a","x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`), err: "deep"},
		{name: "opaque", raw: "v2.local.AAAA", err: "not a JWT", opaque: true},
		{name: "a word", raw: "k3Zx0", err: "not a JWT", opaque: true},
		{name: "empty", raw: "", err: "not a JWT", opaque: true},
		{name: "five segments", raw: "a.b.c.d.e", err: "not a JWT", opaque: true},
		{name: "a million dots", raw: strings.Repeat(".", 1<<20), err: "not a JWT", opaque: true},
		{name: "too long", raw: jwt(`{"aud":"` + strings.Repeat("a", 16<<10) + `"}`), err: "bytes", opaque: true},
		{name: "padding", raw: strings.Replace(jwt(`{"aud":"a"}`), ".", "=.", 1), err: "base64url", opaque: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := token.ReadUnverified(test.raw)
			if test.err == "" && err != nil || test.err != "" && (err == nil || !strings.Contains(err.Error(), test.err)) || errors.Is(err, token.ErrOpaque) != test.opaque {
				t.Errorf("error %v, want %q, opaque %t", err, test.err, test.opaque)
			}
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
		})
	}
}

func FuzzReadUnverified(f *testing.F) {
	f.Add("eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJhIn0.c2ln")
	f.Fuzz(func(t *testing.T, raw string) {
		if u, err := token.ReadUnverified(raw); err != nil && !reflect.DeepEqual(u, token.Unverified{}) {
			t.Errorf("%q: an error and %+v", raw, u)
		}
	})
}
