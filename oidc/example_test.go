package oidc_test

import (
	"fmt"

	"github.com/gatehouse-dev/gatehouse/oidc"
)

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
