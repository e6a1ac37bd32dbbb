// Package load owns the client of a measurement: the bytes of its requests, the check of each
// answer, and when requests are sent. It costs little, because it shares the processors with the
// servers. It leaves what is measured of them to package proc.
package load
