// Package faults owns a proxy that stops, cuts and counts what passes between a program and its server, for tests of what
// a broken network does. What is said through it is left to both sides; it is imported by tests alone.
package faults
