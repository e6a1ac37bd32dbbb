// Package proc owns the server processes of a measurement: start, readiness, end, and what they
// used, each with all of its descendants. It leaves what they serve to package rows.
package proc
