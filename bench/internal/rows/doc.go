// Package rows owns the rows of the benchmark: products, and ways to deploy them, that answer the
// same request. A row says what a reader must know to compare it, whether it can be had on this
// machine, and how its servers start. Rows of one product are in a file of their own. It leaves
// the measurement to the program, and the processes to package proc.
package rows
