// Package e2e owns the tests of the whole system: the program as one process or three, OpenID
// providers of others, and a browser. It leaves to other packages what their own tests can show.
package e2e
