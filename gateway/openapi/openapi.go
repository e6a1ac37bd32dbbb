package openapi

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
)

// Config says what a document describes.
type Config struct {
	// Title is the API's name, Version that of its release.
	Title, Version string
	// Issuer is whose tokens are wanted; "" where that is not known.
	Issuer string
	// Cookie is the name of the cookie that holds a session of the bff; "" where
	// there is no bff.
	Cookie string
	// Routes are described in their order.
	Routes []Route
	// Comments is a FileDescriptorSet with source info, from which the .proto
	// files' comments are taken: what `buf build -o` writes. None is fine.
	Comments []byte
}

// Route is one HTTP method and path, and the method it calls.
type Route struct {
	Method  string // HTTP method, GET
	Pattern string // path template of google.api.http, /api/{name=things/*}
	Body    string // the field that the body fills, "*" for the whole message, "" for no body
	RPC     protoreflect.MethodDescriptor

	TakesETag bool // If-Match goes into the request message
	GivesETag bool // the answer has the entity tag of its message
	Resumable bool // Last-Event-ID goes into the request message
}

// Document returns the document as JSON.
func Document(cfg Config) ([]byte, error) {
	said, err := readComments(cfg.Comments)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	b := &builder{Config: cfg, schemas: schemas{comments: said, answered: map[protoreflect.FullName]bool{}, made: map[string]*schema{}}}
	for _, r := range cfg.Routes {
		b.collect(r.RPC.Output())
	}
	doc := document{
		OpenAPI: "3.1.0",
		Info:    info{cfg.Title, about, cfg.Version},
		Servers: []server{{"/", "Where this document was found."}},
	}
	b.name()
	for _, r := range cfg.Routes {
		service := r.RPC.Parent()
		if name := string(service.Name()); !slices.ContainsFunc(doc.Tags, func(t tag) bool { return t.Name == name }) {
			doc.Tags = append(doc.Tags, tag{name, said[service.FullName()].text})
		}
		path, parameters := b.path(r)
		item, _ := doc.Paths.get(path).(object)
		item.set(strings.ToLower(r.Method), b.operation(r, parameters))
		doc.Paths.set(path, item)
	}
	doc.Components = b.components()
	content, err := encode(doc)
	if err != nil {
		return nil, fmt.Errorf("openapi: %w", err)
	}
	return content, nil
}

type builder struct {
	Config
	schemas
	operations map[string]string // what a method is called in operationIds
	used       map[string]int    // operationIds
	paths      map[string]string // the path of each shape
}

// name finds short names for the methods: Service_Method, and with the package
// before it where two services have one name.
func (b *builder) name() {
	b.operations, b.used, b.paths = map[string]string{}, map[string]int{}, map[string]string{}
	packages := map[protoreflect.Name]protoreflect.FullName{}
	ambiguous := map[protoreflect.Name]bool{}
	for _, r := range b.Routes {
		service := r.RPC.Parent()
		if first, ok := packages[service.Name()]; ok && first != service.FullName() {
			ambiguous[service.Name()] = true
		}
		packages[service.Name()] = service.FullName()
	}
	for _, r := range b.Routes {
		service := r.RPC.Parent()
		name := string(service.Name())
		if ambiguous[service.Name()] {
			name = strings.ReplaceAll(string(service.FullName()), ".", "_")
		}
		b.operations[string(r.RPC.FullName())] = name + "_" + string(r.RPC.Name())
	}
}

func (b *builder) operation(r Route, parameters []*parameter) *operation {
	id := b.operations[string(r.RPC.FullName())]
	if b.used[id]++; b.used[id] > 1 { // a further binding
		id = fmt.Sprintf("%s_%d", id, b.used[id])
	}
	said := b.comments[r.RPC.FullName()]
	who := policyOf(r.RPC)
	op := &operation{
		OperationID: id,
		Summary:     said.summary(),
		Description: paragraphs(said.text, who.sentence()),
		Tags:        []string{string(r.RPC.Parent().Name())},
		Deprecated:  deprecated(r.RPC),
		Security:    b.security(who),
		Policy:      who,
		Parameters:  append(parameters, b.query(r)...),
	}
	op.Parameters = append(op.Parameters, r.headers()...)
	if r.Body != "" {
		op.Body = b.body(r)
	}
	op.Responses = b.answers(r, who)
	return op
}

// body is the request body: a field of the message, or what the path leaves of
// it.
func (b *builder) body(r Route) *requestBody {
	as := requests
	if r.Method == http.MethodPatch {
		as = patches
	}
	s := &schema{}
	description := ""
	content := r.RPC.Input()
	if fd := content.Fields().ByName(protoreflect.Name(r.Body)); fd != nil {
		content = fd.Message()
		description = b.comments[fd.FullName()].text
	}
	if content != nil && content.FullName() == "google.api.HttpBody" {
		return &requestBody{description, false, object{{"*/*", mediaType{}}}}
	}
	if r.Body == "*" {
		var taken []protoreflect.Name
		for _, v := range variables(r.Pattern) {
			if field, _, nested := strings.Cut(v, "."); !nested {
				taken = append(taken, protoreflect.Name(field))
			}
		}
		if taken == nil {
			s = b.reference(r.RPC.Input(), as)
		} else {
			b.message(s, r.RPC.Input(), as, taken...)
		}
	} else if fd := r.RPC.Input().Fields().ByName(protoreflect.Name(r.Body)); fd != nil {
		s = b.typeOf(fd, as)
	}
	return &requestBody{description, true, object{{"application/json", mediaType{Schema: s}}}}
}

// policyOf reads the policy of a method; who may call one that has none needs a
// token.
func policyOf(method protoreflect.MethodDescriptor) policy {
	p, _ := proto.GetExtension(method.Options(), authv1.E_Policy).(*authv1.Policy)
	return policy{
		Public: p.GetPublic(), Scopes: p.GetScopes(), Permissions: p.GetPermissions(),
		MaxAge: int64(p.GetMaxAge().AsDuration() / time.Second), ACRValues: p.GetAcrValues(),
	}
}

// sentence says who may call.
func (p policy) sentence() string {
	if p.Public {
		return "**Who may call:** anybody. A token that is sent all the same must be good."
	}
	words := []string{"a valid token"}
	add := func(one, many string, values []string) {
		switch len(values) {
		case 0:
		case 1:
			words = append(words, "the "+one+" `"+values[0]+"`")
		default:
			words = append(words, "the "+many+" `"+strings.Join(values, "`, `")+"`")
		}
	}
	add("scope", "scopes", p.Scopes)
	add("permission", "permissions", p.Permissions)
	add("authentication context", "authentication context one of", p.ACRValues)
	if p.MaxAge > 0 {
		words = append(words, fmt.Sprintf("a sign-in no longer ago than %v", time.Duration(p.MaxAge)*time.Second))
	}
	return "**Who may call:** whoever has " + strings.Join(words, ", and ") + "."
}

const (
	schemeBearer  = "bearer"
	schemeOpenID  = "openid"
	schemeSession = "session"
)

// security lists the ways in; a public method has none as well.
func (b *builder) security(p policy) []map[string][]string {
	scopes := p.Scopes
	if scopes == nil {
		scopes = []string{}
	}
	ways := []map[string][]string{{schemeBearer: scopes}}
	if b.Issuer != "" {
		ways = append(ways, map[string][]string{schemeOpenID: scopes})
	}
	if b.Cookie != "" {
		ways = append(ways, map[string][]string{schemeSession: scopes})
	}
	if p.Public {
		ways = append([]map[string][]string{{}}, ways...)
	}
	return ways
}

func (b *builder) components() components {
	c := components{Responses: errorResponses(), Headers: headers(), Parameters: sharedParameters()}
	for _, name := range sortedKeys(b.made) {
		c.Schemas.set(name, b.made[name])
	}
	for _, s := range errorSchemas() {
		c.Schemas.set(s.name, s.value)
	}
	c.SecuritySchemes.set(schemeBearer, securityScheme{
		Type: "http", Scheme: "bearer", BearerFormat: "JWT",
		Description: "An access token of the OpenID provider for this API, in the Authorization header and nowhere else (RFC 6750).",
	})
	if b.Issuer != "" {
		c.SecuritySchemes.set(schemeOpenID, securityScheme{
			Type: "openIdConnect", OpenIDConnectURL: strings.TrimSuffix(b.Issuer, "/") + "/.well-known/openid-configuration",
			Description: "The same access token, and where it comes from.",
		})
	}
	if b.Cookie != "" {
		c.SecuritySchemes.set(schemeSession, securityScheme{
			Type: "apiKey", In: "cookie", Name: b.Cookie,
			Description: "The session of a browser that has signed in at the bff, for requests to the bff's own address. " +
				"The bff puts the access token in its place, and refuses with 403 what another origin has caused.",
		})
	}
	return c
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
