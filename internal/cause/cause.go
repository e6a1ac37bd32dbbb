// Package cause owns the explanation of failed connections: the problem between two
// machines and its remedy. It leaves errors of protocols above TCP and TLS to their
// clients.
package cause

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// ErrUnavailable is wrapped by errors of [Unavailable].
var ErrUnavailable = errors.New("unavailable")

// Unavailable returns err, with the same text, as one that is also ErrUnavailable: what
// it is about may come back without a change here.
func Unavailable(err error) error { return &unavailable{err} }

type unavailable struct{ error }

func (e *unavailable) Unwrap() error        { return e.error }
func (e *unavailable) Is(target error) bool { return target == ErrUnavailable }

// Passing reports whether an error is about a connection that may succeed later without
// a change here: nothing answers, or a name cannot be looked up yet. Certificates and
// protocols do not correct themselves.
func Passing(err error) bool {
	if _, ok := errors.AsType[*net.DNSError](err); ok {
		return true
	}
	for _, passing := range []error{
		syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.EPIPE, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENOENT,
		io.EOF, io.ErrUnexpectedEOF, os.ErrDeadlineExceeded, context.DeadlineExceeded,
	} {
		if errors.Is(err, passing) {
			return certificateProblem(err) == ""
		}
	}
	return timeout(err)
}

func certificateProblem(err error) string {
	problem, _ := certificate(err)
	return problem
}

// Of returns the problem of a connection to a server and its remedy, or "" for an error
// that is not about a connection. Neither contains a credential.
func Of(err error) (problem, remedy string) {
	if problem, remedy = certificate(err); problem != "" {
		return problem, remedy
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the server answers plain HTTP where TLS is expected", "correct the port, or turn TLS on there"
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return "the server does not speak TLS at this port", "correct the port, or turn TLS on there"
	}
	if alert, ok := Alert(err); ok {
		return "the server refuses the TLS handshake (" + alert.Error() + ")", "if it wants a client certificate or another TLS version, change that there"
	}
	if dns, ok := errors.AsType[*net.DNSError](err); ok {
		if dns.IsNotFound {
			return fmt.Sprintf("the host name %s does not exist", dns.Name), "correct the name, or the DNS of this machine"
		}
		return fmt.Sprintf("the host name %s cannot be looked up (%s)", dns.Name, dns.Err), "correct the DNS of this machine"
	}
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "the connection is refused: nothing listens at this address and port", "start it, or correct the address"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return "there is no route to the address", "correct the address, or the network between"
	case errors.Is(err, syscall.ENOENT):
		return "the socket does not exist", "start it, or correct the address"
	case errors.Is(err, syscall.EACCES):
		return "permission denied for the socket", "let the user that runs gatehouse open it"
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closes the connection", "see its log; it may expect TLS or a client certificate, or not support TLS"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), timeout(err):
		return "no answer in time", "correct the address, or let this machine through the firewall"
	}
	return "", ""
}

// Alert returns the TLS alert of the peer in an error. Package tls exports a type only
// for QUIC.
func Alert(err error) (alert error, ok bool) {
	e, ok := errors.AsType[*net.OpError](err)
	if !ok || e.Op != "remote error" {
		return nil, false
	}
	return e.Err, true
}

func timeout(err error) bool {
	e, ok := errors.AsType[net.Error](err)
	return ok && e.Timeout()
}

func certificate(err error) (problem, remedy string) {
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		if now := time.Now(); invalid.Cert != nil && now.Before(invalid.Cert.NotBefore) {
			return fmt.Sprintf("the server's certificate is valid from %s only", date(invalid.Cert.NotBefore)), "correct the clock of this machine, or the certificate"
		}
		until := ""
		if invalid.Cert != nil {
			until = " on " + date(invalid.Cert.NotAfter)
		}
		return "the server's certificate has expired" + until, "renew it at the server"
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return "the server's certificate is signed by an authority that this machine does not trust", "give the file of that authority in the setting for this server that ends in ca-file, add it to the system's trusted ones (SSL_CERT_FILE is the path of a file with them), or correct the certificate"
	}
	if wrong, ok := errors.AsType[x509.HostnameError](err); ok {
		names := "no host name"
		if wrong.Certificate != nil && len(wrong.Certificate.DNSNames) > 0 {
			names = strings.Join(wrong.Certificate.DNSNames[:min(4, len(wrong.Certificate.DNSNames))], ", ")
		}
		return fmt.Sprintf("the server's certificate is for %s, not for %s", names, wrong.Host), "use a name that is in the certificate, or renew it with this one"
	}
	if invalid, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the server's certificate is not accepted: " + invalid.Err.Error(), "correct the certificate"
	}
	return "", ""
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
