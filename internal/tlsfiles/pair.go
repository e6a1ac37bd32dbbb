package tlsfiles

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

const (
	// expiryNotice is how long before its end a certificate is warned of, once in
	// every expiryRepeat, or a quarter of its lifetime if that is shorter.
	expiryNotice = 14 * 24 * time.Hour
	expiryRepeat = 24 * time.Hour
)

// A Pair is a certificate with its chain and its key. It is safe for concurrent
// use.
type Pair struct {
	name    string
	files   [2]string
	roles   []string                        // guarded by Files.mu
	current atomic.Pointer[tls.Certificate] // with a Leaf

	warned time.Time // of the expiry; guarded by Files.checking
}

// Pair returns the certificate and key in two PEM files, which may be the same
// file. name is that of the setting with the certificate's file, and role says what
// the certificate is for, such as "gateway". Several roles share a Pair of the same
// files.
func (f *Files) Pair(name, role, certFile, keyFile string) (*Pair, error) {
	f.mu.Lock()
	for _, p := range f.pairs {
		if p.files == [2]string{certFile, keyFile} {
			if !slices.Contains(p.roles, role) {
				p.roles = append(p.roles, role)
			}
			f.mu.Unlock()
			return p, nil
		}
	}
	f.mu.Unlock()
	p := &Pair{name: name, files: [2]string{certFile, keyFile}, roles: []string{role}}
	err := f.add(&source{name: name, paths: p.files[:], use: func(contents [][]byte) (bool, error) {
		cert, err := Parse(contents[0], contents[1])
		if err == nil {
			p.current.Store(cert)
		}
		return true, p.about(err)
	}})
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.pairs = append(f.pairs, p)
	return p, nil
}

// about names the file that an error of Parse is about.
func (p *Pair) about(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errKey):
		return &fileError{p.files[1], err}
	case errors.Is(err, errMismatch):
		return fmt.Errorf("%s: the key in it is not that of the certificate in %s; give the files of one pair", p.files[1], p.files[0])
	}
	return &fileError{p.files[0], err}
}

// Certificate returns the certificate and the key as they are now.
func (p *Pair) Certificate() *tls.Certificate { return p.current.Load() }

// warn logs that a certificate expires soon, or has expired.
func (f *Files) warn(ctx context.Context, p *Pair) {
	leaf, now := p.Certificate().Leaf, f.now()
	end := leaf.NotAfter
	if now.Before(end.Add(-min(expiryNotice, end.Sub(leaf.NotBefore)/4))) {
		p.warned = time.Time{}
		return
	}
	if now.Sub(p.warned) < expiryRepeat {
		return
	}
	p.warned = now
	if now.Before(end) {
		f.logger.WarnContext(ctx, "certificate expires soon: renew it, and replace the files", "setting", p.name, "expires", end.UTC())
	} else {
		f.logger.ErrorContext(ctx, "certificate has expired: renew it, and replace the files", "setting", p.name, "expires", end.UTC())
	}
}

// An Expiry is when the certificate of a role expires.
type Expiry struct {
	Role string
	At   time.Time
}

// Expiries returns when the certificates expire.
func (f *Files) Expiries() []Expiry {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []Expiry
	for _, p := range f.pairs {
		for _, role := range p.roles {
			all = append(all, Expiry{role, p.Certificate().Leaf.NotAfter})
		}
	}
	return all
}

var (
	errKey      = errors.New("no usable private key in PEM; give an unencrypted key, PKCS #8, PKCS #1 or SEC 1")
	errMismatch = errors.New("the key is not that of the certificate")
)

// Parse returns the certificate, its chain and its key from PEM. Errors quote
// neither.
func Parse(certPEM, keyPEM []byte) (*tls.Certificate, error) {
	chain, err := certificates(certPEM)
	if err != nil {
		return nil, err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err == nil {
		cert.Leaf = chain[0]
		return &cert, nil
	}
	if strings.Contains(err.Error(), "does not match") { // package tls has no value for it
		return nil, errMismatch
	}
	return nil, errKey
}

// certificates returns the certificates in a PEM file, at least one.
func certificates(content []byte) ([]*x509.Certificate, error) {
	if !bytes.Contains(content, []byte("-----END CERTIFICATE-----")) {
		return nil, errors.New("no certificate in PEM; give a file with -----BEGIN CERTIFICATE-----")
	}
	var all []*x509.Certificate
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d in it cannot be read: %w", len(all)+1, err)
		}
		all = append(all, cert)
	}
	if len(all) == 0 || bytes.Contains(content, []byte("-----BEGIN CERTIFICATE-----")) {
		return nil, errors.New("a certificate in it is damaged or not complete; write the file again")
	}
	return all, nil
}
