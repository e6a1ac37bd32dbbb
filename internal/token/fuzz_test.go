package token_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gatehouse-dev/gatehouse/internal/test/tokentest"
	"github.com/gatehouse-dev/gatehouse/internal/token"
)

// FuzzVerify: the verifier neither panics nor accepts what the issuer did not sign.
func FuzzVerify(f *testing.F) {
	var verifiers []*token.AccessVerifier[*principal]
	good := map[string]bool{}
	for _, alg := range tokentest.Algorithms {
		fg := newForge(f, alg) // with a fixed time: seeds that are a second too early must stay so
		verifiers = append(verifiers, newAccess(f, newProvider(f, fg.Issuer, nil), fg.clock, allow(tokentest.Algorithms...)))
		raw := fg.good()
		good[raw] = true
		f.Add(raw)
		for _, c := range hostileTokens {
			f.Add(c.make(fg))
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		accepted := 0
		for _, v := range verifiers { // each of another key
			_, _, err := v.Verify(t.Context(), raw)
			if err == nil {
				accepted++
				continue
			}
			// The provider is available, so the reason is the token's.
			if r := reason(t, err); r == token.ReasonUnavailable || r == 0 {
				t.Fatalf("reason %v: %v", r, err)
			}
		}
		if good[raw] != (accepted == 1) || accepted > 1 {
			t.Fatalf("accepted %d times: %q", accepted, raw)
		}
	})
}

// FuzzPayload signs any header and payload. An accepted token must have the same
// meaning to encoding/json and no duplicate names.
func FuzzPayload(f *testing.F) {
	issuer := tokentest.NewUnserved(f, "https://id.example")
	now := time.Now()
	v, err := token.NewAccessVerifier(token.AccessConfig[*token.Claims]{
		Now:       func() time.Time { return now },
		Provider:  newProvider(f, issuer, nil),
		Audience:  audience,
		Principal: func(c *token.Claims) (*token.Claims, error) { return c, nil },
	})
	if err != nil {
		f.Fatal(err)
	}
	fg := forge{issuer, now, nil}
	for _, extra := range []string{
		"", `,"a":[1,-0.5e+9,true,false,null,"\u00e4\ud83d\ude00\/\b"]`, `,"x":{"y":{"z":{}}}`, `,"scope":["a","b"]`, `,"nbf":1.25`,
		`,"sub":"again"`, `,"exp":null`, `,"aud":["` + audience + `"]`, ` , "a" : [ ] `, `,"":""`,
	} {
		f.Add(fg.header(""), fg.payload(extra))
		f.Add(fg.header(extra), fg.payload(""))
	}
	f.Fuzz(func(t *testing.T, header, payload string) {
		c, _, err := v.Verify(t.Context(), issuer.Sign(header, payload))
		if err != nil {
			return
		}
		h, err := decodeJSON([]byte(header))
		if err != nil || h.(map[string]any)["alg"] != "RS256" {
			t.Fatalf("accepted header %q (%v)", header, err)
		}
		m, err := decodeJSON([]byte(payload))
		if err != nil {
			t.Fatalf("accepted payload %q: %v", payload, err)
		}
		if !reflect.DeepEqual(m, any(c.Map())) {
			t.Fatalf("%q read as\n%v\n%v", payload, m, c.Map())
		}
		if c.Issuer != issuer.URL || !slices.Contains(c.Audience, audience) || c.Expiry.Before(now.Add(-time.Minute)) {
			t.Fatalf("accepted claims %+v", c)
		}
	})
}

// decodeJSON reads one JSON value with encoding/json and refuses duplicate names.
func decodeJSON(data []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	v, err := decodeNext(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one value")
	}
	if !utf8.Valid(data) {
		return nil, errors.New("broken UTF-8")
	}
	return v, nil
}

func decodeNext(d *json.Decoder) (any, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok {
	case json.Delim('{'):
		m := map[string]any{}
		for d.More() {
			name, err := d.Token()
			if err != nil {
				return nil, err
			}
			if _, ok := m[name.(string)]; ok {
				return nil, errors.New("duplicate member")
			}
			if m[name.(string)], err = decodeNext(d); err != nil {
				return nil, err
			}
		}
		_, err := d.Token()
		return m, err
	case json.Delim('['):
		list := []any{}
		for d.More() {
			v, err := decodeNext(d)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	}
	return tok, nil
}
