package tlsfiles

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
)

// ServerConfig configures [Server]. Certificate is required.
type ServerConfig struct {
	Certificate *Pair
	// MinVersion is the oldest version that is accepted. Default: TLS 1.2.
	MinVersion uint16
	// Clients are the authorities of client certificates, which are then required.
	// Default: none are asked for.
	Clients *Authorities
	// ClientNames are the names of which a client certificate must have one, as a
	// DNS name or URI. Default: any certificate of Clients is accepted.
	ClientNames []string
	// Protocols are offered by ALPN, best first.
	Protocols []string
}

// Server returns the configuration of a listener. Each handshake uses the latest
// certificate and authorities.
func Server(cfg ServerConfig) *tls.Config {
	config := &tls.Config{
		MinVersion:     cmp.Or(cfg.MinVersion, tls.VersionTLS12),
		NextProtos:     cfg.Protocols,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cfg.Certificate.Certificate(), nil },
	}
	if cfg.Clients == nil {
		return config
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = cfg.Clients.Pool()
	// A ticket would admit a client whose authority was removed since.
	config.SessionTicketsDisabled = true
	if len(cfg.ClientNames) > 0 {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			return checkName(state.PeerCertificates[0], cfg.ClientNames)
		}
	}
	asking := config.Clone()
	asking.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		current := config.Clone()
		current.ClientCAs = cfg.Clients.Pool()
		return current, nil
	}
	return asking
}

// checkName returns an error unless the certificate has one of the names.
func checkName(cert *x509.Certificate, allowed []string) error {
	names := slices.Clone(cert.DNSNames)
	for _, uri := range cert.URIs {
		names = append(names, uri.String())
	}
	for _, name := range names {
		if slices.ContainsFunc(allowed, func(a string) bool { return strings.EqualFold(a, name) }) {
			return nil
		}
	}
	return fmt.Errorf("tls: the client certificate is for %s, which is not among the allowed names",
		cmp.Or(strings.Join(names[:min(4, len(names))], ", "), "no name"))
}

// ClientConfig configures [Client]. The zero value trusts the system's
// authorities.
type ClientConfig struct {
	// Authorities are the only trusted ones. Default: the system's.
	Authorities *Authorities
	// Certificate is the client's. Default: none.
	Certificate *Pair
	// MinVersion is the oldest version that is accepted. Default: TLS 1.2.
	MinVersion uint16
	// Hosts are the hosts that are dialled. With Authorities they matter where they
	// are IP addresses: a server at such an address must have a certificate for one
	// of them.
	Hosts []string
}

// Client returns the configuration of connections to servers. Each handshake uses
// the latest certificate and authorities.
func Client(cfg ClientConfig) *tls.Config {
	config := &tls.Config{MinVersion: cmp.Or(cfg.MinVersion, tls.VersionTLS12)}
	if cfg.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return cfg.Certificate.Certificate(), nil
		}
	}
	if cfg.Authorities == nil {
		return config
	}
	var addresses []string
	for _, host := range cfg.Hosts {
		if net.ParseIP(strings.Trim(host, "[]")) != nil {
			addresses = append(addresses, strings.Trim(host, "[]"))
		}
	}
	// RootCAs cannot be replaced while connections are made, so that package tls
	// leaves the verification to VerifyConnection, which runs in every handshake.
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		names := []string{state.ServerName}
		if state.ServerName == "" { // the host is an IP address, which is not in the handshake
			names = addresses
		}
		return verify(state.PeerCertificates, cfg.Authorities.Pool(), names)
	}
	return config
}

// verify returns an error unless the first certificate is one of a server with one
// of the names.
func verify(chain []*x509.Certificate, roots *x509.CertPool, names []string) error {
	if len(names) == 0 {
		return errors.New("tls: the server is reached by an address that is in no setting, so that its certificate cannot be checked; use its name")
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	var err error
	for _, name := range names {
		if _, err = chain[0].Verify(x509.VerifyOptions{DNSName: name, Roots: roots, Intermediates: intermediates}); err == nil {
			return nil
		}
	}
	return &tls.CertificateVerificationError{UnverifiedCertificates: chain, Err: err}
}
