// Command bench owns measurements that compare Gatehouse with other ways to the same answer in one
// run: the processor time of a request, as a ratio to that of a bare net/http handler. It leaves
// benchmarks of single packages to these packages.
//
//	go run -C bench .
//
// builds the program, starts a provider, each variant as separate processes, and a client. It sends
// the same request to all variants in turns, and prints the processor time of the servers alone.
// The turns are short and many, so that other load on the machine affects all variants alike. The
// results are medians.
package main
