// Package authn owns authentication and authorization of gRPC calls: it turns a
// bearer token into a [Principal], applies the policy in the .proto of each
// method, and refuses everything else, for unary calls and streams alike. It
// leaves the verification of signatures and claims to internal/token, and what a
// principal may do with one particular resource (ownership) to the services.
//
// It does not use the auth interceptor of go-grpc-middleware: a service can
// replace that silently by implementing ServiceAuthFuncOverride.
package authn
