package tlsfiles

import (
	"crypto/x509"
	"sync/atomic"
)

// Authorities are the certificates of a CA bundle. They are safe for concurrent
// use.
type Authorities struct {
	pool atomic.Pointer[x509.CertPool]
}

// Authorities returns the authorities in a PEM file. name is that of the setting.
func (f *Files) Authorities(name, file string) (*Authorities, error) {
	a := &Authorities{}
	return a, f.add(&source{name: name, paths: []string{file}, use: func(contents [][]byte) (bool, error) {
		certs, err := certificates(contents[0])
		if err != nil {
			return false, &fileError{file, err}
		}
		pool := x509.NewCertPool()
		for _, cert := range certs {
			pool.AddCert(cert)
		}
		a.pool.Store(pool)
		return true, nil
	}})
}

// Pool returns the authorities as they are now. The pool never changes.
func (a *Authorities) Pool() *x509.CertPool { return a.pool.Load() }
