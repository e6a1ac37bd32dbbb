package token

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"
)

// Tokens are read with jsontext, because encoding/json accepts what must be
// refused here: it keeps the last of two members with the same name, so that two
// readers of a token can disagree on what it says (RFC 8725 §2.4), and it
// replaces invalid UTF-8.

const (
	maxDepth  = 32 // levels of nesting; no known provider needs more than 5
	maxNumber = 64 // bytes of a number
)

var (
	errSyntax    = errors.New("not valid JSON")
	errNotObject = errors.New("not a JSON object")
	errDuplicate = errors.New("a member occurs twice")
	errDepth     = errors.New("JSON nested too deeply")
	errNumber    = errors.New("JSON number too long")
)

// A member is one member of an object: its name, unescaped, and its value as
// sent, without surrounding space.
type member struct {
	name string
	raw  string
}

var decoders = sync.Pool{New: func() any { return new(jsontext.Decoder) }}

// parseObject returns the members of a JSON object, in order. It refuses
// duplicate names and invalid UTF-8 at every depth.
func parseObject(data string) ([]member, error) {
	d := decoders.Get().(*jsontext.Decoder)
	defer decoders.Put(d)
	d.Reset(bytes.NewBufferString(data))
	if d.PeekKind() != '{' {
		return nil, errNotObject
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, plainSyntax(err)
	}
	members := make([]member, 0, 20)
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, plainSyntax(err)
		}
		m := member{name: name.String()}
		if m.raw, err = readValue(d, data); err != nil {
			return nil, err
		}
		members = append(members, m)
	}
	if _, err := d.ReadToken(); err != nil {
		return nil, plainSyntax(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errSyntax
	}
	return members, nil
}

// readValue reads the value of a member of data and returns it as sent. Arrays
// and objects are read token by token, for the limits.
func readValue(d *jsontext.Decoder, data string) (string, error) {
	if kind := d.PeekKind(); kind != '{' && kind != '[' {
		v, err := d.ReadValue()
		if err != nil {
			return "", plainSyntax(err)
		}
		if kind == '0' && len(v) > maxNumber {
			return "", errNumber
		}
		end := int(d.InputOffset())
		return data[end-len(v) : end], nil
	}
	outside := d.StackDepth()
	start := -1
	for start < 0 || d.StackDepth() > outside {
		token, err := d.ReadToken()
		switch {
		case err != nil:
			return "", plainSyntax(err)
		case d.StackDepth() > maxDepth+1:
			return "", errDepth
		case token.Kind() == '0' && len(token.String()) > maxNumber:
			return "", errNumber
		}
		if start < 0 {
			start = int(d.InputOffset()) - 1
		}
	}
	return data[start:d.InputOffset()], nil
}

// plainSyntax replaces an error of jsontext, which quotes its input.
func plainSyntax(err error) error {
	if errors.Is(err, jsontext.ErrDuplicateName) {
		return errDuplicate
	}
	return errSyntax
}

// decodeValue returns the meaning of a member's raw value: string, bool,
// json.Number, []any, map[string]any or nil.
func decodeValue(raw string) (any, error) {
	// A Decoder takes 1.5 KB, and most claims are plain.
	switch raw[0] {
	case '"':
		if text, ok := decodeString(raw); ok {
			return text, nil
		}
	case 't', 'f':
		return raw[0] == 't', nil
	case 'n':
		return nil, nil
	case '[', '{':
	default:
		return json.Number(strings.Clone(raw)), nil
	}
	d := json.NewDecoder(strings.NewReader(raw))
	d.UseNumber()
	var v any
	err := d.Decode(&v)
	return v, err
}

// decodeString returns the meaning of a raw value that is a string. The result
// shares no memory with raw, so that keeping a claim does not keep the token.
func decodeString(raw string) (string, bool) {
	if raw[0] != '"' {
		return "", false
	}
	if !strings.Contains(raw, `\`) {
		return strings.Clone(raw[1 : len(raw)-1]), true
	}
	text, err := jsontext.AppendUnquote(nil, raw)
	return string(text), err == nil
}
