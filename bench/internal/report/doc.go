// Package report owns what a run of the benchmark tells: a table for a terminal, the generated parts
// of docs/benchmarks.md, and its plot. It leaves the measurement to the program.
package report
