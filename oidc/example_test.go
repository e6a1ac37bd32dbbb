package oidc_test

import (
	"errors"
	"fmt"
	"log"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

// One Provider is shared by the parts of a process: set it as bff.Config.Provider
// and authn.Config.Provider. Run of either part fetches its metadata and keys.
func ExampleNewProvider() {
	provider, err := oidc.NewProvider(oidc.Config{Issuer: "https://tenant.eu.auth0.com/"})
	if err != nil {
		log.Fatal(err)
	}
	err = provider.Ready() // for a readiness check
	fmt.Println(errors.Is(err, oidc.ErrUnavailable), err)
	// Output:
	// true oidc: provider unavailable: https://tenant.eu.auth0.com/: no metadata yet
}

// Each wrong field is reported with its remedy.
func ExampleConfig_Validate() {
	err := oidc.Config{
		Issuer:      "http://keycloak.auth.svc:8080/realms/shop",
		InternalURL: "https://keycloak.auth.svc/realms/shop",
	}.Validate()
	fmt.Println(err)
	// Output:
	// Issuer "http://keycloak.auth.svc:8080/realms/shop" is invalid: http is for loopback only: codes and secrets would travel in the clear; use https://; if this is the provider's address inside a cluster, give its issuer here and this address as InternalURL
	// InternalURL "https://keycloak.auth.svc/realms/shop" is invalid: more than an origin; give scheme, host and port, such as https://keycloak.auth.svc:8443
}
