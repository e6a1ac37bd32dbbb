package tlsconfig

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/gatehouse-dev/gatehouse/internal/check"
)

// Check returns the results about the certificates of the listeners and
// of the calls to other parts. That they fit their keys is a matter of the settings.
func (cfg *Config) Check(p Process) []check.Result {
	var results []check.Result
	seen := map[string]bool{}
	for _, l := range cfg.listeners(p) {
		chain := readChain(l.tls.CertFile, l.tls.KeyFile)
		if chain == nil {
			continue
		}
		if !seen[l.tls.CertFile] {
			results = append(results, checkChain(l.tls.CertFile, chain, x509.ExtKeyUsageServerAuth, "a server"))
		}
		seen[l.tls.CertFile] = true
		if l.part == "bff" {
			results = append(results, checkForBrowsers(p, l.tls.CertFile, chain)...)
		}
	}
	if chain := readChain(cfg.ClientCertFile, cfg.ClientKeyFile); chain != nil && (p.BFF || p.Gateway) {
		results = append(results, checkChain(cfg.ClientCertFile, chain, x509.ExtKeyUsageClientAuth, "a client"))
	}
	return results
}

// soon is how long before its end a certificate is reported.
const soon = 14 * 24 * time.Hour

// certificateProof is the name of these results.
const certificateProof = "certificate"

// readChain returns the certificates in a file that the settings have accepted, nil
// for none.
func readChain(certFile, keyFile string) []*x509.Certificate {
	if certFile == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil // removed a moment ago
	}
	chain := []*x509.Certificate{pair.Leaf}
	for _, der := range pair.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			chain = append(chain, cert)
		}
	}
	return chain
}

// checkChain returns the result about a certificate for a server or a client.
func checkChain(file string, chain []*x509.Certificate, usage x509.ExtKeyUsage, role string) check.Result {
	const renew = "renew it; a new file is read without a restart"
	leaf, now := chain[0], time.Now()
	for i, cert := range chain[1:] {
		if chain[i].CheckSignatureFrom(cert) != nil {
			return check.Bad(certificateProof, "write the certificate first, then that of its issuer, and so on",
				"%s: certificate %d in it has not issued certificate %d", file, i+2, i+1)
		}
	}
	usages := leaf.ExtKeyUsage
	switch {
	case now.After(leaf.NotAfter):
		return check.Bad(certificateProof, renew, "the certificate %s expired at %s: its peers refuse it", file, minute(leaf.NotAfter))
	case now.Before(leaf.NotBefore):
		return check.Bad(certificateProof, "correct this machine's clock, or the certificate",
			"the certificate %s is valid only from %s", file, minute(leaf.NotBefore))
	case len(usages) > 0 && !slices.Contains(usages, usage) && !slices.Contains(usages, x509.ExtKeyUsageAny):
		return check.Bad(certificateProof, "issue one with this extended key usage", "the certificate %s is not for %s", file, role)
	case now.Add(soon).After(leaf.NotAfter):
		return check.Result{Status: check.Warn, Proof: certificateProof,
			What: fmt.Sprintf("the certificate %s expires at %s", file, minute(leaf.NotAfter)), Remedy: renew}
	}
	return check.Good(certificateProof, "the certificate %s is valid until %s, and its key fits", file, minute(leaf.NotAfter))
}

// checkForBrowsers returns what browsers that connect to the bff itself would not
// accept. With a proxy in front it may be right.
func checkForBrowsers(p Process, file string, chain []*x509.Certificate) []check.Result {
	base, err := url.Parse(p.BaseURL)
	if err != nil {
		return nil
	}
	if err := chain[0].VerifyHostname(base.Hostname()); err != nil {
		return []check.Result{{Status: check.Warn, Proof: certificateProof,
			What:   fmt.Sprintf("the certificate %s is not for %s, the host of %s: browsers refuse it", file, base.Hostname(), p.Name("base-url")),
			Remedy: "issue one with this name, unless a proxy in front has one"}}
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	_, err = chain[0].Verify(x509.VerifyOptions{Intermediates: intermediates})
	if _, unknown := errors.AsType[x509.UnknownAuthorityError](err); unknown {
		return []check.Result{{Status: check.Unknown, Proof: certificateProof, Optional: true,
			What:   fmt.Sprintf("whether browsers trust the issuer of %s, %q, which this machine does not", file, chain[0].Issuer.String()),
			Remedy: "if it is a public authority, add its intermediate certificates to the file"}}
	}
	return nil
}

// minute returns a time for people.
func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
