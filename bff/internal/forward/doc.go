// Package forward owns how bytes pass between a browser and a server behind
// the bff: the proxy to another process, the filter that corrects the headers
// of every answer, and the deadlines of the connection to the browser. Who is
// signed in, and what an answer means for a session, it leaves to package bff.
package forward
