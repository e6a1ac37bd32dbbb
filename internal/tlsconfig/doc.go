// Package tlsconfig owns the TLS of a program: the settings that name certificates, keys
// and authorities, the TLS configurations of listeners and calls that are made of them,
// and what is wrong with them. It leaves reading files to internal/tlsfiles, and
// listening and calling to the parts.
package tlsconfig
