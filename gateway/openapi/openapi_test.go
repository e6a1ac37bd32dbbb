package openapi_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	"github.com/gatehouse-dev/gatehouse/internal/test/openapitest"
)

// shelf is a service in AIP style, with a method for each kind of path.
const shelf = `
message_type { name: "Book" options { [google.api.resource] { type: "x/Book" pattern: "shelves/{shelf}/books/{book}" } }
  field { name: "name" json_name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "book_title" json_name: "bookTitle" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "pages" json_name: "pages" number: 3 type: TYPE_INT32 label: LABEL_OPTIONAL options { deprecated: true } }
  field { name: "next" json_name: "next" number: 4 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".PKG.Book" }
}
message_type { name: "GetBookRequest"
  field { name: "name" json_name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL options { [google.api.resource_reference] { type: "x/Book" } } }
}
message_type { name: "UpdateBookRequest"
  field { name: "book" json_name: "book" number: 1 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".PKG.Book" }
  field { name: "update_mask" json_name: "updateMask" number: 2 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".google.protobuf.FieldMask" }
}
message_type { name: "ListRequest"
  field { name: "page" json_name: "page" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL options { [google.api.field_behavior]: REQUIRED } }
  field { name: "tags" json_name: "tags" number: 2 type: TYPE_STRING label: LABEL_REPEATED }
  field { name: "like" json_name: "like" number: 3 type: TYPE_MESSAGE label: LABEL_OPTIONAL type_name: ".PKG.Book" }
  field { name: "books" json_name: "books" number: 4 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".PKG.Book" }
  field { name: "labels" json_name: "labels" number: 5 type: TYPE_MESSAGE label: LABEL_REPEATED type_name: ".PKG.ListRequest.LabelsEntry" }
  nested_type { name: "LabelsEntry" options { map_entry: true }
    field { name: "key" json_name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" json_name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  }
}
message_type { name: "MoveRequest"
  field { name: "from" json_name: "from" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
  field { name: "id" json_name: "id" number: 2 type: TYPE_INT64 label: LABEL_OPTIONAL }
  field { name: "force" json_name: "force" number: 3 type: TYPE_BOOL label: LABEL_OPTIONAL }
}
service { name: "BookService"
  method { name: "GetBook" input_type: ".PKG.GetBookRequest" output_type: ".PKG.Book"
    options { [google.api.http] { get: "/api/{name=shelves/*/books/*}" additional_bindings { get: "/api/files/{name=**}" } } [gatehouse.auth.v1.policy] { public: true } } }
  method { name: "UpdateBook" input_type: ".PKG.UpdateBookRequest" output_type: ".PKG.Book"
    options { [google.api.http] { patch: "/api/{book.name=shelves/*/books/*}" body: "book" } [gatehouse.auth.v1.policy] { scopes: ["books:write", "books:read"] } } }
  method { name: "ListBooks" input_type: ".PKG.ListRequest" output_type: ".PKG.Book" server_streaming: true
    options { [google.api.http] { get: "/api/books:watch" } [gatehouse.auth.v1.policy] { permissions: "books:watch" } } }
  method { name: "MoveBook" input_type: ".PKG.MoveRequest" output_type: ".google.protobuf.Empty"
    options { deprecated: true [google.api.http] { post: "/api/{from=*}/{id}:move" body: "*" } [gatehouse.auth.v1.policy] { max_age { seconds: 600 } acr_values: ["gold", "silver"] } } }
  method { name: "PutBook" input_type: ".google.api.HttpBody" output_type: ".google.api.HttpBody"
    options { [google.api.http] { put: "/api/content" body: "*" } } }
  method { name: "ReadBook" input_type: ".PKG.MoveRequest" output_type: ".google.api.HttpBody"
    options { [google.api.http] { get: "/api/books/{from}/{id}" } } }
  method { name: "DownloadBook" input_type: ".PKG.MoveRequest" output_type: ".google.api.HttpBody" server_streaming: true
    options { [google.api.http] { get: "/api/books/{from}/{id}/file" } } }
  method { name: "UploadBook" input_type: ".google.api.HttpBody" output_type: ".PKG.Book" client_streaming: true
    options { [google.api.http] { post: "/api/books:upload" body: "*" } } }
}
`

// described returns the document of a file in text format.
func described(t *testing.T, text string) document {
	t.Helper()
	file, _ := openapitest.Declare(t, text)
	return made(t, openapi.Config{Title: "T", Version: "1", Issuer: "https://id.example/", Cookie: "__Host-gatehouse", Routes: openapitest.Routes(file)})
}

// TestPaths checks that a path has one name for each segment, the same for all its
// methods.
func TestPaths(t *testing.T) {
	t.Parallel()
	doc := described(t, shelf)
	got := map[string]string{}
	for path, item := range at[map[string]any](t, doc, "paths") {
		for method, op := range item.(map[string]any) {
			var parameters []string
			for _, p := range at[[]any](t, op, "parameters") {
				p := p.(map[string]any)
				if p["$ref"] != nil {
					continue
				}
				text := fmt.Sprintf("%s %s", p["in"], p["name"])
				for _, flag := range []string{"required", "deprecated"} {
					if p[flag] == true {
						text += " " + flag
					}
				}
				if p["style"] != nil {
					text += fmt.Sprintf(" %s", p["style"])
				}
				parameters = append(parameters, text)
			}
			got[strings.ToUpper(method)+" "+path] = at[string](t, op, "operationId") + ": " + strings.Join(parameters, ", ")
		}
	}
	want := map[string]string{
		"GET /api/shelves/{shelf}/books/{book}":   "BookService_GetBook: path shelf required, path book required",
		"PATCH /api/shelves/{shelf}/books/{book}": "BookService_UpdateBook: path shelf required, path book required, query updateMask",
		"GET /api/files/{name}":                   "BookService_GetBook_2: path name required",
		"GET /api/books:watch": "BookService_ListBooks: query page required, query tags, query like.name, query like.bookTitle, " +
			"query like.pages deprecated, query labels deepObject",
		"POST /api/{from}/{id}:move": "BookService_MoveBook: path from required, path id required",
		"PUT /api/content":           "BookService_PutBook: ",
		"GET /api/books/{from}/{id}": "BookService_ReadBook: path from required, path id required, query force",

		"GET /api/books/{from}/{id}/file": "BookService_DownloadBook: path from required, path id required, query force",
		"POST /api/books:upload":          "BookService_UploadBook: ",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths differ (-want +got):\n%s", diff)
	}
	// The body does not have the fields that the path fills.
	body := at[map[string]any](t, doc, "paths", "/api/{from}/{id}:move", "post", "requestBody", "content", "application/json", "schema", "properties")
	if len(body) != 1 || body["force"] == nil {
		t.Errorf("the body of a move has %v, want force alone", body)
	}
	if bytes := at[map[string]any](t, doc, "paths", "/api/content", "put", "requestBody", "content", "*/*"); len(bytes) > 0 {
		t.Errorf("a body of bytes is described as %v", bytes)
	}
	patch := at[string](t, doc, "paths", "/api/shelves/{shelf}/books/{book}", "patch", "requestBody", "content", "application/json", "schema", "$ref")
	if !strings.HasSuffix(patch, ".Book-patch") {
		t.Errorf("an update takes %s", patch)
	}
	if at[bool](t, doc, "paths", "/api/{from}/{id}:move", "post", "deprecated") != true {
		t.Error("a deprecated method is not said to be one")
	}
}

// TestAnswersOfOperations checks statuses and media types of each kind of operation.
func TestAnswersOfOperations(t *testing.T) {
	t.Parallel()
	doc := described(t, shelf)
	for operation, want := range map[string]struct{ statuses, types string }{
		"get /api/shelves/{shelf}/books/{book}":   {"200 400 401 404 406 429 500 503 504", "application/json"},
		"patch /api/shelves/{shelf}/books/{book}": {"200 400 401 403 404 406 408 409 413 415 429 500 503 504", "application/json"},
		"get /api/books:watch":                    {"200 400 401 403 406 429 500 503 504", "application/x-ndjson text/event-stream"},
		"get /api/books/{from}/{id}":              {"200 400 401 403 404 429 500 503 504", "*/*"},
		"get /api/books/{from}/{id}/file":         {"200 206 304 400 401 403 404 412 416 429 500 503 504", "*/*"},
		"post /api/books:upload":                  {"200 400 401 403 406 408 409 413 415 429 500 503 504", "application/json"},
	} {
		method, path, _ := strings.Cut(operation, " ")
		answers := at[map[string]any](t, doc, "paths", path, method, "responses")
		types := at[map[string]any](t, answers, "200", "content")
		if got := strings.Join(keys(answers), " "); got != want.statuses {
			t.Errorf("%s: got statuses %s, want %s", operation, got, want.statuses)
		}
		if got := strings.Join(keys(types), " "); got != want.types {
			t.Errorf("%s: got media types %s, want %s", operation, got, want.types)
		}
	}
	// Every error has two formats and the request id.
	for name, answer := range at[map[string]any](t, doc, "components", "responses") {
		if name == "NotModified" {
			continue
		}
		if got := strings.Join(keys(at[map[string]any](t, answer, "content")), " "); got != "application/json application/problem+json" {
			t.Errorf("%s: got media types %s, want JSON and problem", name, got)
		}
		if at[map[string]any](t, answer, "headers")["X-Request-Id"] == nil {
			t.Errorf("%s has no X-Request-Id", name)
		}
	}
	if at[bool](t, doc, "components", "headers", "Challenge401", "required") != true {
		t.Error("a 401 without a challenge is allowed (RFC 9110 section 15.5.2)")
	}
}

// TestConditional checks that the routes that support entity tags and Last-Event-ID
// have those headers.
func TestConditional(t *testing.T) {
	t.Parallel()
	file, _ := openapitest.Declare(t, shelf)
	all := openapitest.Routes(file)
	for i := range all {
		all[i].TakesETag = all[i].Method == "PATCH"
		all[i].GivesETag = all[i].RPC.Name() == "UpdateBook" || all[i].RPC.Name() == "GetBook"
		all[i].Resumable = all[i].RPC.IsStreamingServer()
	}
	doc := made(t, openapi.Config{Title: "T", Version: "1", Routes: all})
	for operation, want := range map[string]struct{ headers, statuses string }{
		"get /api/shelves/{shelf}/books/{book}":   {"IfMatch IfNoneMatch RequestId", "304 412"},
		"patch /api/shelves/{shelf}/books/{book}": {"IfMatch RequestId", "412"},
		"get /api/books:watch":                    {"LastEventId RequestId", ""},
		"post /api/{from}/{id}:move":              {"RequestId", ""},
	} {
		method, path, _ := strings.Cut(operation, " ")
		op := at[map[string]any](t, doc, "paths", path, method)
		var headers, statuses []string
		for _, p := range at[[]any](t, op, "parameters") {
			if ref, ok := p.(map[string]any)["$ref"].(string); ok {
				headers = append(headers, ref[strings.LastIndexByte(ref, '/')+1:])
			}
		}
		answers := at[map[string]any](t, op, "responses")
		for _, status := range []string{"304", "412"} {
			if answers[status] != nil {
				statuses = append(statuses, status)
			}
		}
		if got := strings.Join(headers, " "); got != want.headers {
			t.Errorf("%s takes %s, want %s", operation, got, want.headers)
		}
		if got := strings.Join(statuses, " "); got != want.statuses {
			t.Errorf("%s answers %s, want %s", operation, got, want.statuses)
		}
		tagged := at[map[string]any](t, answers, "200", "headers")["ETag"] != nil
		if tagged != strings.Contains(path, "{book}") {
			t.Errorf("%s: an entity tag in the answer: %v", operation, tagged)
		}
	}
}

// TestBytes checks that streams of bytes have their header fields, and the limits of their own.
func TestBytes(t *testing.T) {
	t.Parallel()
	doc := described(t, shelf)
	download := at[map[string]any](t, doc, "paths", "/api/books/{from}/{id}/file", "get")
	var parameters []string
	for _, p := range at[[]any](t, download, "parameters") {
		if ref, ok := p.(map[string]any)["$ref"].(string); ok {
			parameters = append(parameters, ref[strings.LastIndexByte(ref, '/')+1:])
		}
	}
	if got := strings.Join(parameters, " "); got != "IfMatch IfNoneMatch Range IfRange RequestId" {
		t.Errorf("a download takes %s", got)
	}
	for status, want := range map[string]string{
		"200": "Accept-Ranges Content-Disposition ETag Last-Modified X-Request-Id",
		"206": "Accept-Ranges Content-Disposition Content-Range ETag Last-Modified X-Request-Id",
	} {
		if got := strings.Join(keys(at[map[string]any](t, download, "responses", status, "headers")), " "); got != want {
			t.Errorf("%s of a download has %s, want %s", status, got, want)
		}
	}
	if got := at[map[string]any](t, doc, "components", "responses", "RangeNotSatisfiable", "headers"); got["Content-Range"] == nil {
		t.Errorf("416 has %v", got)
	}
	upload := at[map[string]any](t, doc, "paths", "/api/books:upload", "post")
	if got := strings.Join(keys(at[map[string]any](t, upload, "requestBody", "content")), " "); got != "*/* application/octet-stream" {
		t.Errorf("an upload takes %s", got)
	}
	long := at[map[string]any](t, upload, "responses", "413", "content", "application/json", "example")
	if got := fmt.Sprint(long); !strings.Contains(got, "CONTENT_TOO_LONG") {
		t.Errorf("413 of an upload has %s", got)
	}
}

// TestPolicies checks that each part of a policy is in security, in the text and in
// the error answers.
func TestPolicies(t *testing.T) {
	t.Parallel()
	doc := described(t, shelf)
	for _, c := range []struct {
		operation, security, access string
		refusals                    map[string]string // status → part of its example
	}{
		{"get /api/shelves/{shelf}/books/{book}", `[{},{"bearer":[]},{"openid":[]},{"session":[]}]`, "**Access:** public.", nil},
		{"patch /api/shelves/{shelf}/books/{book}", `[{"bearer":["books:write","books:read"]},{"openid":["books:write","books:read"]},{"session":["books:write","books:read"]}]`,
			"a valid token, and the scopes `books:write`, `books:read`", map[string]string{"403": `"metadata":{"scope":"books:write books:read"},"reason":"SCOPE_MISSING"`}},
		{"get /api/books:watch", `[{"bearer":[]},{"openid":[]},{"session":[]}]`,
			"the permission `books:watch`", map[string]string{"403": `"metadata":{"permissions":"books:watch"},"reason":"PERMISSION_MISSING"`}},
		{"post /api/{from}/{id}:move", `[{"bearer":[]},{"openid":[]},{"session":[]}]`,
			"the authentication context one of `gold`, `silver`, and a sign-in within the last 10m0s",
			map[string]string{"401": `"metadata":{"acr_values":"gold silver","max_age":"600"},"reason":"STEP_UP_REQUIRED"`}},
		{"get /api/books/{from}/{id}", `[{"bearer":[]},{"openid":[]},{"session":[]}]`, "requires a valid token.", nil},
	} {
		method, path, _ := strings.Cut(c.operation, " ")
		op := at[map[string]any](t, doc, "paths", path, method)
		if got := text(t, op["security"]); got != c.security {
			t.Errorf("%s: security is %s, want %s", c.operation, got, c.security)
		}
		if got := at[string](t, op, "description"); !strings.Contains(got, c.access) {
			t.Errorf("%s: got description %q, want %q in it", c.operation, got, c.access)
		}
		for status, part := range c.refusals {
			for _, mediaType := range []string{"application/json", "application/problem+json"} {
				if got := text(t, at[any](t, op, "responses", status, "content", mediaType, "example")); !strings.Contains(got, part) {
					t.Errorf("%s: the example of %s is %s, want %s in it", c.operation, status, got, part)
				}
			}
		}
	}
	if got := at[string](t, doc, "components", "securitySchemes", "openid", "openIdConnectUrl"); got != "https://id.example/.well-known/openid-configuration" {
		t.Errorf("the issuer's metadata is at %s", got)
	}
	// Without issuer and bff the document does not mention them.
	file, _ := openapitest.Declare(t, shelf)
	plain := made(t, openapi.Config{Title: "T", Version: "1", Routes: openapitest.Routes(file)})
	if got := keys(at[map[string]any](t, plain, "components", "securitySchemes")); !slices.Equal(got, []string{"bearer"}) {
		t.Errorf("security schemes are %q, want bearer alone", got)
	}
}

// TestNames checks that two services with the same name have different operations.
func TestNames(t *testing.T) {
	t.Parallel()
	one, _ := openapitest.Declare(t, shelf)
	two, _ := openapitest.Declare(t, strings.ReplaceAll(shelf, "/api/", "/api/v2/"))
	doc := made(t, openapi.Config{Title: "T", Version: "1", Routes: append(openapitest.Routes(one), openapitest.Routes(two)...)})
	seen := map[string]bool{}
	for _, item := range at[map[string]any](t, doc, "paths") {
		for _, op := range item.(map[string]any) {
			id := at[string](t, op, "operationId")
			if seen[id] || !strings.HasPrefix(id, "openapitest_v") {
				t.Errorf("an operation is called %s, twice or without its package", id)
			}
			seen[id] = true
		}
	}
	if len(seen) != 18 {
		t.Errorf("%d operations, want 18", len(seen))
	}
}

// TestComments checks that the document has the comments of the .proto files,
// without directives for tools.
func TestComments(t *testing.T) {
	t.Parallel()
	file, proto3 := openapitest.Declare(t, shelf)
	name := func(name string) string { return string(file.Package()) + "." + name }
	says := func(comments map[string]string) []byte { return withComments(t, proto3, comments) }
	doc := made(t, openapi.Config{Title: "T", Version: "1", Routes: openapitest.Routes(file), Comments: says(map[string]string{
		"6 0":     " Keeps books.\n",
		"6 0 2 0": " Returns one book. It may\n be lent.\n buf:lint:ignore RPC_REQUEST_STANDARD_NAME\n\n     an example\n",
		"4 0":     " A book.\n",
		"4 0 2 0": " Its name.\n\n Example: \"shelves/7/books/moby-dick\"\n",
		"4 0 2 2": " How long it is.\n Example: 635\n Example: 12\n",
	})})
	op := at[map[string]any](t, doc, "paths", "/api/shelves/{shelf}/books/{book}", "get")
	if got := at[string](t, op, "summary"); got != "Returns one book" {
		t.Errorf("summary %q", got)
	}
	if got := at[string](t, op, "description"); !strings.HasPrefix(got, "Returns one book. It may\nbe lent.\n\n    an example\n\n**Access:**") {
		t.Errorf("description %q", got)
	}
	book := at[map[string]any](t, doc, "components", "schemas", name("Book"))
	if got := at[string](t, book, "description"); got != "A book." {
		t.Errorf("the message: %q", got)
	}
	if got := text(t, at[any](t, book, "properties", "name")); got != `{"description":"Its name.","examples":["shelves/7/books/moby-dick"],"type":"string"}` {
		t.Errorf("a field: %s", got)
	}
	if got := text(t, at[any](t, book, "properties", "pages", "examples")); got != `[635,12]` {
		t.Errorf("a field with two examples: %s", got)
	}
	for i, want := range []string{"7", "moby-dick"} {
		if got := at[string](t, at[[]any](t, op, "parameters")[i], "example"); got != want {
			t.Errorf("the example of parameter %d is %q, want %q", i, got, want)
		}
	}
	if got := text(t, doc["tags"]); got != `[{"description":"Keeps books.","name":"BookService"}]` {
		t.Errorf("tags: %s", got)
	}

	_, err := openapi.Document(openapi.Config{Routes: openapitest.Routes(file), Comments: says(map[string]string{"4 0 2 2": " Example: six hundred\n"})})
	if err == nil || !strings.Contains(err.Error(), name("Book.pages")) || !strings.Contains(err.Error(), "Example: six hundred") {
		t.Errorf("an example that is none: %v", err)
	}
	if _, err := openapi.Document(openapi.Config{Routes: openapitest.Routes(file), Comments: []byte("comments")}); err == nil || !strings.Contains(err.Error(), "buf build -o") {
		t.Errorf("comments that are none: %v", err)
	}
}

// withComments returns a descriptor set like the output of buf. comments are by path.
func withComments(t *testing.T, file *descriptorpb.FileDescriptorProto, comments map[string]string) []byte {
	t.Helper()
	file = proto.CloneOf(file)
	file.SourceCodeInfo = &descriptorpb.SourceCodeInfo{}
	for path, comment := range comments {
		l := &descriptorpb.SourceCodeInfo_Location{Span: []int32{0, 0, 0}, LeadingComments: &comment}
		for number := range strings.FieldsSeq(path) {
			var n int32
			if _, err := fmt.Sscan(number, &n); err != nil {
				t.Fatal(err)
			}
			l.Path = append(l.Path, n)
		}
		file.SourceCodeInfo.Location = append(file.SourceCodeInfo.Location, l)
	}
	content, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{file}})
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func text(t *testing.T, v any) string {
	t.Helper()
	content, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func keys(m map[string]any) (names []string) {
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
