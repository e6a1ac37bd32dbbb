package openapi

import (
	"bytes"
	"encoding/json"
)

// The parts of OpenAPI 3.1 and JSON Schema 2020-12 that documents use. Members are
// written in the order of these structs, and those of an object in the order in
// which they were set, so that a document has the order of its .proto files.

type tag struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
}

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
}

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

type requestBody struct {
	Description string `json:"description,omitempty"`
	Required    bool   `json:"required"`
	Content     object `json:"content"` // of mediaType
}

type response struct {
	Ref         string `json:"$ref,omitempty"`
	Description string `json:"description,omitempty"`
	Headers     object `json:"headers,omitempty"` // of header
	Content     object `json:"content,omitempty"` // of mediaType
}

type header struct {
	Ref         string  `json:"$ref,omitempty"`
	Description string  `json:"description,omitempty"`
	Required    bool    `json:"required,omitempty"`
	Schema      *schema `json:"schema,omitempty"`
	Example     any     `json:"example,omitempty"`
}

type mediaType struct {
	Schema  *schema `json:"schema,omitempty"`
	Example any     `json:"example,omitempty"`
}

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

type member struct {
	name  string
	value any
}

func (o object) get(name string) any {
	for _, m := range o {
		if m.name == name {
			return m.value
		}
	}
	return nil
}

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
