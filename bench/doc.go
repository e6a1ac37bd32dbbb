// Command bench owns measurements that set Gatehouse beside something else in
// one run: what a request costs in processor time, as a ratio to what it costs
// a bare net/http handler. It leaves the benchmarks of single parts to the
// packages of those parts.
//
//	go run -C bench .
//
// builds the program, starts a provider, each variant as processes of its own,
// and a client, asks all variants in turns for one and the same answer, and
// prints the processor time of the servers alone. Turns are short and many, so
// that whatever else the machine does falls upon all of them; what counts are
// the medians.
package main
