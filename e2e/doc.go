// Package e2e owns the tests of the whole system as its users meet it: the
// built program as one process or three, real OpenID providers, a real
// browser. It leaves everything that one package can show by itself to that
// package's tests.
package e2e
