// Command bench owns the measurements that compare Gatehouse with other ways to the same answer in
// one run: what a request costs, as a ratio to a bare net/http handler, and how fast it is answered.
// It leaves benchmarks of single packages to these packages.
//
//	go run -C bench .
//
// builds the program, and starts each row as processes of its own, with a provider and a client. It
// sends the same request to all rows in turns, and measures the servers alone. The turns are short
// and many, so that other load on the machine affects all rows alike. The results are medians.
package main
