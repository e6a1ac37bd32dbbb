package openapi

import (
	"bytes"
	"encoding/json"
)

// The parts of OpenAPI 3.1 and JSON Schema 2020-12 that documents use. Members are
// written in the order of these structs, and those of an object in the order in
// which they were set, so that a document has the order of its .proto files.

// A tag groups the operations of a service.
type tag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

// An operation is one HTTP method of a path (OpenAPI 3.1 §4.8.10).
type operation struct {
	OperationID string                `json:"operationId"`
	Summary     string                `json:"summary,omitempty"`
	Description string                `json:"description"`
	Tags        []string              `json:"tags"`
	Deprecated  bool                  `json:"deprecated,omitempty"`
	Security    []map[string][]string `json:"security"`
	Policy      policy                `json:"x-gatehouse-policy"`
	Parameters  []*parameter          `json:"parameters,omitempty"`
	Body        *requestBody          `json:"requestBody,omitempty"`
	Responses   object                `json:"responses"`
}

// policy is the policy of a method for programs: OpenAPI has no permissions and no
// step-up authentication.
type policy struct {
	Public      bool     `json:"public"`
	Scopes      []string `json:"scopes,omitempty"`
	Permissions []string `json:"permissions,omitempty"`
	MaxAge      int64    `json:"maxAge,omitempty"` // seconds
	ACRValues   []string `json:"acrValues,omitempty"`
	Callers     []string `json:"callers,omitempty"` // users by default
}

// A parameter is one in a path, a query or a header, or a reference to one
// (OpenAPI 3.1 §4.8.12).
type parameter struct {
	Ref         string  `json:"$ref,omitempty"`
	Name        string  `json:"name,omitempty"`
	In          string  `json:"in,omitempty"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Deprecated  bool    `json:"deprecated,omitempty"`
	Style       string  `json:"style,omitempty"`
	Explode     *bool   `json:"explode,omitempty"`
	Schema      *schema `json:"schema,omitempty"`
	Example     any     `json:"example,omitempty"`
}

// A requestBody is the body of an operation's request (OpenAPI 3.1 §4.8.13).
type requestBody struct {
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
	Content     object `json:"content"` // of mediaType
}

// A response is one answer of an operation, or a reference to one (OpenAPI 3.1
// §4.8.17).
type response struct {
	Ref         string `json:"$ref,omitempty"`
	Description string `json:"description,omitempty"`
	Headers     object `json:"headers,omitempty"` // of header
	Content     object `json:"content,omitempty"` // of mediaType
}

// A header is a header field of an answer, or a reference to one (OpenAPI 3.1
// §4.8.21).
type header struct {
	Ref         string  `json:"$ref,omitempty"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Schema      *schema `json:"schema,omitempty"`
	Example     any     `json:"example,omitempty"`
}

// A mediaType is a body in one media type (OpenAPI 3.1 §4.8.14). Its zero value
// describes any content.
type mediaType struct {
	Schema  *schema `json:"schema,omitempty"`
	Example any     `json:"example,omitempty"`
}

// A schema is a JSON Schema (draft 2020-12). Its zero value admits every value.
type schema struct {
	Ref              string    `json:"$ref,omitempty"`
	Type             any       `json:"type,omitempty"` // a name, or several
	Title            string    `json:"title,omitempty"`
	Description      string    `json:"description,omitempty"`
	Format           string    `json:"format,omitempty"`
	ContentEncoding  string    `json:"contentEncoding,omitempty"`
	ContentMediaType string    `json:"contentMediaType,omitempty"`
	Deprecated       bool      `json:"deprecated,omitempty"`
	ReadOnly         bool      `json:"readOnly,omitempty"`
	Const            any       `json:"const,omitempty"`
	Enum             []any     `json:"enum,omitempty"`
	Not              *schema   `json:"not,omitempty"`
	AnyOf            []*schema `json:"anyOf,omitempty"`
	Pattern          string    `json:"pattern,omitempty"`
	MinLength        *uint64   `json:"minLength,omitempty"`
	MaxLength        *uint64   `json:"maxLength,omitempty"`
	Minimum          any       `json:"minimum,omitempty"`
	Maximum          any       `json:"maximum,omitempty"`
	ExclusiveMinimum any       `json:"exclusiveMinimum,omitempty"`
	ExclusiveMaximum any       `json:"exclusiveMaximum,omitempty"`
	Items            *schema   `json:"items,omitempty"`
	MinItems         *uint64   `json:"minItems,omitempty"`
	MaxItems         *uint64   `json:"maxItems,omitempty"`
	UniqueItems      bool      `json:"uniqueItems,omitempty"`
	MinProperties    *uint64   `json:"minProperties,omitempty"`
	MaxProperties    *uint64   `json:"maxProperties,omitempty"`
	Properties       object    `json:"properties,omitempty"` // of *schema
	Required         []string  `json:"required,omitempty"`
	Additional       any       `json:"additionalProperties,omitempty"` // false, or a *schema
	Examples         []any     `json:"examples,omitempty"`
}

// object is a JSON object that keeps the order of its members.
type object []member

// A member is one member of an object. Its value is anything that encoding/json can
// marshal.
type member struct {
	name  string
	value any
}

// get returns the value of a member, nil if there is none.
func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

// set replaces the value of a member in its place, or appends the member.
func (o *object) set(name string, value any) {
	for i, m := range *o {
		if m.name == name {
			(*o)[i].value = value
			return
		}
	}
	*o = append(*o, member{name, value})
}

// MarshalJSON returns the members in order, without escapes for HTML, so that "<="
// in a description stays readable. Package encoding/json removes the line breaks
// when it marshals an object within another value.
func (o object) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	b.WriteByte('{')
	for i, m := range o {
		if i > 0 {
			b.WriteByte(',')
		}
		if err := e.Encode(m.name); err != nil {
			return nil, err
		}
		b.WriteByte(':')
		if err := e.Encode(m.value); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}
