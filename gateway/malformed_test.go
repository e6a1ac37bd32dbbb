package gateway_test

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// TestMalformed checks that values that do not fit their field are named in a
// google.rpc.BadRequest, with the expected form and the value, and never in the
// words of a library.
func TestMalformed(t *testing.T) {
	t.Parallel()
	const (
		i32   = "must be a whole number from -2147483648 to 2147483647, not "
		u32   = "must be a whole number from 0 to 4294967295, not "
		i64   = "must be a whole number from -9223372036854775808 to 9223372036854775807, not "
		u64   = "must be a whole number from 0 to 18446744073709551615, not "
		float = `must be a number, "NaN", "Infinity" or "-Infinity", not `
		boole = "must be true or false, not "
		b64   = "must be bytes in base64, not "
		color = "must be one of COLOR_UNSPECIFIED, COLOR_RED, not "
		when  = `must be a time as in RFC 3339, such as "2026-01-02T03:04:05Z", not `
		dur   = `must be a number of seconds and an s, such as "1.5s", not `
		mask  = "must be names of fields with commas between, not "
	)
	long := strings.Repeat("ä", 100)
	type fault struct{ field, description string }
	query := func(name, value string) string {
		return "GET /api/allkinds?" + name + "=" + url.QueryEscape(value)
	}
	const post = "POST /api/allkinds"
	for _, c := range []struct {
		name, request, body string
		want                []fault
	}{
		{"int32", query("i32", "abc"), "", []fault{{"i32", i32 + `"abc"`}}},
		{"int32 overflows", query("i32", "2147483648"), "", []fault{{"i32", i32 + `"2147483648"`}}},
		{"int32, empty", query("i32", ""), "", []fault{{"i32", i32 + `""`}}},
		{"uint32", query("u32", "-1"), "", []fault{{"u32", u32 + `"-1"`}}},
		{"int64", query("i64", "abc"), "", []fault{{"i64", i64 + `"abc"`}}},
		{"uint64", query("u64", "1.5"), "", []fault{{"u64", u64 + `"1.5"`}}},
		{"float", query("float", "0x1"), "", []fault{{"float", float + `"0x1"`}}},
		{"double", query("double", "one"), "", []fault{{"double", float + `"one"`}}},
		{"bool", query("bool", "yes"), "", []fault{{"bool", boole + `"yes"`}}},
		{"bytes", query("bytes", "*"), "", []fault{{"bytes", b64 + `"*"`}}},
		{"enum", query("color", "COLOR_MAUVE"), "", []fault{{"color", color + `"COLOR_MAUVE"`}}},
		{"timestamp", query("time", "yesterday"), "", []fault{{"time", when + `"yesterday"`}}},
		{"duration", query("duration", "long"), "", []fault{{"duration", dur + `"long"`}}},
		{"wrapper", query("count", "many"), "", []fault{{"count", i64 + `"many"`}}},
		{"wrapped bool", query("flag", "maybe"), "", []fault{{"flag", boole + `"maybe"`}}},
		{"one of several", "GET /api/allkinds?numbers=1&numbers=two&numbers=three", "", []fault{{"numbers", i32 + `"two"`}}},
		{"one enum of several", "GET /api/allkinds?colors=COLOR_RED&colors=x", "", []fault{{"colors", color + `"x"`}}},
		{"map key", "GET /api/allkinds?by_number[one]=true", "", []fault{{"by_number[one]", `has the key "one", which must be a whole number from -2147483648 to 2147483647`}}},
		{"map value", "GET /api/allkinds?byNumber[1]=ja", "", []fault{{"byNumber[1]", boole + `"ja"`}}},
		{"nested", query("nested.nested.i32", "x"), "", []fault{{"nested.nested.i32", i32 + `"x"`}}},
		{"a message", query("nested", "x"), "", []fault{{"nested", `must be a JSON object, not "x"`}}},
		{"several faults", "GET /api/allkinds?bool=x&i32=y", "", []fault{{"bool", boole + `"x"`}, {"i32", i32 + `"y"`}}},
		{"twice", "GET /api/allkinds?i32=1&i32=2", "", []fault{{"i32", "has 2 values, and takes one"}}},
		{"by both names", "GET /api/allkinds?by_number[1]=true&byNumber[1]=true", "", []fault{{"by_number[1]", "is a duplicate of byNumber[1]"}}},
		{"two of a oneof", "GET /api/allkinds?left=a&right=b", "", []fault{{"right", "excludes left, which is set as well"}}},
		{"a long value", query("i32", long), "", []fault{{"i32", i32 + `"` + strings.Repeat("ä", 32) + `…"`}}},
		{"bad escape", "GET /api/allkinds?text=%zz", "", []fault{{"text", "has a percent sign without two hexadecimal digits after it; a percent sign itself is %25"}}},
		{"semicolon", "GET /api/allkinds?text=a;b=c", "", []fault{{"text", "has a semicolon, which does not separate parameters; a semicolon itself is %3B"}}},
		{"unknown", "GET /api/allkinds?txt=a", "", []fault{{"txt", "is unknown: no field of the request has that name"}}},

		{"in a path", "GET /api/allkinds/i32/abc", "", []fault{{"i32", i32 + `"abc"`}}},
		{"nested in a path", "GET /api/allkinds/bool/abc", "", []fault{{"nested.bool", boole + `"abc"`}}},
		{"enum in a path", "GET /api/allkinds/color/red", "", []fault{{"color", color + `"red"`}}},
		{"timestamp in a path", "GET /api/allkinds/time/now", "", []fault{{"time", when + `"now"`}}},

		{"JSON int32", post, `{"i32":"abc"}`, []fault{{"i32", i32 + `"abc"`}}},
		{"JSON int32, a fraction", post, `{"i32":1.5}`, []fault{{"i32", i32 + `1.5`}}},
		{"JSON uint64", post, `{"u64":"18446744073709551616"}`, []fault{{"u64", u64 + `"18446744073709551616"`}}},
		{"JSON float", post, `{"float":"x"}`, []fault{{"float", float + `"x"`}}},
		{"JSON bool", post, `{"bool":"true"}`, []fault{{"bool", boole + `"true"`}}},
		{"JSON text", post, `{"text":1}`, []fault{{"text", "must be text in Unicode, not 1"}}},
		{"JSON half a surrogate", post, `{"text":"\ud800"}`, []fault{{"text", `must be text in Unicode, not "\ud800"`}}},
		{"JSON bytes", post, `{"bytes":"*"}`, []fault{{"bytes", b64 + `"*"`}}},
		{"JSON enum", post, `{"color":"COLOR_MAUVE"}`, []fault{{"color", color + `"COLOR_MAUVE"`}}},
		{"JSON timestamp", post, `{"time":"yesterday"}`, []fault{{"time", when + `"yesterday"`}}},
		{"JSON duration", post, `{"duration":"1"}`, []fault{{"duration", dur + `"1"`}}},
		{"JSON field mask", post, `{"mask":"a_b"}`, []fault{{"mask", mask + `"a_b"`}}},
		{"JSON wrapper", post, `{"count":true}`, []fault{{"count", i64 + `true`}}},
		{"JSON list", post, `{"numbers":[1,"two",3,"four"]}`, []fault{{"numbers[1]", i32 + `"two"`}, {"numbers[3]", i32 + `"four"`}}},
		{"JSON not a list", post, `{"numbers":1}`, []fault{{"numbers", "must be a JSON array, of which each element is a whole number from -2147483648 to 2147483647, not 1"}}},
		{"JSON null in a list", post, `{"list":[{},null]}`, []fault{{"list[1]", "must be a JSON object, not null"}}},
		{"JSON map key", post, `{"byNumber":{"one":true}}`, []fault{{"by_number[one]", `has the key "one", which must be a whole number from -2147483648 to 2147483647`}}},
		{"JSON map value", post, `{"by_number":{"1":1}}`, []fault{{"by_number[1]", boole + `1`}}},
		{"JSON nested in a list", post, `{"list":[{},{"nested":{"i32":[]}}]}`, []fault{{"list[1].nested.i32", i32 + `[]`}}},
		{"JSON unknown, nested", post, `{"nested":{"txt":1}}`, []fault{{"nested.txt", `is unknown: nested has no field "txt"`}}},
		{"JSON unknown", post, `{"txt":1,"bool":1}`, []fault{{"txt", `is unknown: the message has no field "txt"`}, {"bool", boole + `1`}}},
		{"JSON duplicate", post, `{"i32":1,"i32":2}`, []fault{{"i32", "is a duplicate: the field occurs twice"}}},
		{"JSON by both names", post, `{"byNumber":{},"by_number":{}}`, []fault{{"by_number", "is a duplicate: the field occurs twice"}}},
		{"JSON oneof", post, `{"left":"a","right":"b"}`, []fault{{"right", "excludes left, which is set as well"}}},
		{"JSON Any", post, `{"any":{"@type":"type.googleapis.com/unknown.v1.This"}}`, []fault{{"any", `must be a JSON object whose "@type" names a message that is known here, not {"@type":"type.googleapis.com/unknown.v1.This"}`}}},
		{"JSON not an object", post, `[]`, []fault{{"", "must be a JSON object, not []"}}},
		{"JSON null", post, `null`, []fault{{"", "must be a JSON object, not null"}}},
		{"JSON of a field", "POST /api/allkinds:nested", `{"i32":"x"}`, []fault{{"nested.i32", i32 + `"x"`}}},
		{"JSON nested deeply", post, strings.Repeat(`{"nested":`, 40) + `{"i32":"x"}` + strings.Repeat("}", 40), []fault{{strings.Repeat("nested.", 16) + "nested", ""}}},

		{"Connect", "POST " + things + "/EchoAllKinds", `{"nested":{"i32":"x"}}`, []fault{{"nested.i32", i32 + `"x"`}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := &backend{}
			method, target, _ := strings.Cut(c.request, " ")
			header := []string{jsonBody, version1}
			if method == "GET" {
				header = nil
			}
			response := send(start(t, gateway.Config{}, b), method, target, header, c.body)
			got := read(t, response)
			if response.StatusCode != 400 || b.call() != "" {
				t.Errorf("status %d, the call %q: %s", response.StatusCode, b.call(), got)
			}
			for _, word := range []string{"strconv", "proto:", "parsing", "syntax", "unmarshal", "json:", "time:", "line 1", "\u00a0"} {
				if strings.Contains(got, word) {
					t.Errorf("%s contains %q, a word of a library", got, word)
				}
			}
			if strings.HasPrefix(c.name, "Connect") {
				if !strings.Contains(got, "google.rpc.BadRequest") || !strings.Contains(got, `nested.i32 must be a whole number`) {
					t.Errorf("got %s", got)
				}
				return
			}
			var answer struct {
				Message string
				Details []struct {
					FieldViolations []struct{ Field, Description string }
				}
			}
			if err := json.Unmarshal([]byte(got), &answer); err != nil || len(answer.Details) != 1 {
				t.Fatalf("got %s, %v; want JSON with one detail", got, err)
			}
			var faults []fault
			for i, v := range answer.Details[0].FieldViolations {
				if i < len(c.want) && c.want[i].description == "" {
					v.Description = ""
				}
				faults = append(faults, fault{v.Field, v.Description})
			}
			if diff := cmp.Diff(c.want, faults, cmp.AllowUnexported(fault{})); diff != "" {
				t.Errorf("faults differ (-want +got):\n%s", diff)
			}
			if first := c.want[0].description; !strings.Contains(answer.Message, first) {
				t.Errorf("the message %q lacks %q", answer.Message, first)
			}
			if len(got) > 2000 {
				t.Errorf("an answer of %d bytes", len(got))
			}
		})
	}
}

// TestNotJSON checks the errors about bodies that are not JSON.
func TestNotJSON(t *testing.T) {
	t.Parallel()
	for body, want := range map[string]string{
		`{"a"`:             "it ends too early",
		`{"a":1,}`:         "it goes wrong at byte 8",
		`{} {}`:            "more follows after byte 2",
		"{\"a\":\"\xff\"}": "it is not UTF-8",
	} {
		response := send(start(t, gateway.Config{}, &backend{}), "POST", "/api/allkinds", []string{jsonBody}, body)
		if got := read(t, response); response.StatusCode != 400 || !strings.Contains(got, "not exactly one JSON value: "+want) {
			t.Errorf("%q: %d %s, want %q", body, response.StatusCode, got, want)
		}
	}
}

// TestMalformedLargeBodies checks that explaining a large body has a limit, because
// the caller has not been authenticated: with lists in lists each level would parse
// the body again.
func TestMalformedLargeBodies(t *testing.T) {
	t.Parallel()
	many := strings.Repeat("{},", 20_000)
	for name, c := range map[string]struct{ body, want string }{
		"one list":       {`{"list":[` + many + `1]}`, `"field":"list[20000]","description":"must be a JSON object, not 1"`},
		"lists in lists": {strings.Repeat(`{"list":[`, 15) + many + "1" + strings.Repeat("]}", 15), `"description":"is malformed, and too large for its place to be looked for"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			response := send(start(t, gateway.Config{}, &backend{}), "POST", "/api/allkinds", []string{jsonBody}, c.body)
			if got := read(t, response); response.StatusCode != 400 || !strings.Contains(got, c.want) {
				t.Errorf("status %d: %.300s\nwant %s", response.StatusCode, got, c.want)
			}
		})
	}
}
