// Package forward owns how requests and answers pass between a browser and a
// server behind the bff: the token that the API gets, the headers in both
// directions, the proxy to another process, and the deadlines of the connection
// to the browser. It leaves sessions to bff/internal/account, their tokens to
// bff/internal/refresh, connections to bff/internal/upstream, and pages to
// bff/internal/frontend.
package forward
