package openapi_test

import (
	"encoding/json"
	"fmt"
	"log"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
	sessionadminv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/sessionadmin/v1"
)

// A document of one route.
func ExampleDocument() {
	service := sessionadminv1.File_gatehouse_sessionadmin_v1_session_admin_proto.Services().ByName("SessionAdminService")
	content, err := openapi.Document(openapi.Config{
		Title:   "Sessions",
		Version: "1.0",
		Issuer:  "https://tenant.example",
		Routes: []openapi.Route{
			{Method: "GET", Pattern: "/api/admin/sessions", RPC: service.Methods().ByName("ListSessions")},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	var document struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal(content, &document); err != nil {
		log.Fatal(err)
	}
	for path, operations := range document.Paths {
		fmt.Println(path, operations["get"].OperationID)
	}
	// Output: /api/admin/sessions SessionAdminService_ListSessions
}
