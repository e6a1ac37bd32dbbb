// Package redisaddr owns the addresses of Redis that settings hold: their
// syntax, what the client needs of them, and the explanation why Redis cannot
// be used at one. It leaves timeouts and connections to its users.
package redisaddr

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// Kind says what is at an address.
type Kind string

// The kinds, by their scheme without TLS.
const (
	Single   Kind = "redis"
	Cluster  Kind = "redis-cluster"
	Sentinel Kind = "redis-sentinel"
)

var defaultPorts = map[Kind]string{Single: "6379", Cluster: "6379", Sentinel: "26379"}

// An Address says where a Redis is and how to sign in to it.
type Address struct {
	Kind Kind
	// Secure is whether connections use TLS, by the authorities in CAFile, or
	// those of the system if that is "". CertFile and KeyFile are the client's.
	Secure                    bool
	CAFile, CertFile, KeyFile string
	User, Password            string
	// Hosts are HOST:PORT, of the server, of nodes of the cluster, or of
	// sentinels.
	Hosts    []string
	Database int
	// Master is the sentinels' name of the master. SentinelUser and
	// SentinelPassword are for the sentinels, if SentinelCredential is set, and
	// otherwise they are asked with User and Password.
	Master                         string
	SentinelUser, SentinelPassword string
	SentinelCredential             bool
}

// Parse reads SCHEME://[USER:PASSWORD@]HOST[:PORT][,HOST…][/PATH][?PARAMETERS],
// which net/url cannot if there are several hosts. An error states the problem
// and quotes nothing, since a password may be anywhere in the text.
func Parse(s string) (a Address, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return a, errors.New("is not an address of Redis")
	}
	name, secure := strings.CutPrefix(scheme, "rediss")
	if !secure {
		name = strings.TrimPrefix(scheme, "redis")
	}
	a.Kind, a.Secure = Kind("redis"+name), secure
	if defaultPorts[a.Kind] == "" || !strings.HasPrefix(scheme, "redis") {
		return a, errors.New("is not an address of Redis")
	}
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if a.User, a.Password, err = credentials(rest[:i]); err != nil {
			return a, err
		}
		rest = rest[i+1:]
	}
	hosts, path, _ := strings.Cut(rest, "/")
	if err := a.setHosts(hosts); err != nil {
		return a, err
	}
	if err := a.setPath(path); err != nil {
		return a, err
	}
	if err := a.setQuery(query); err != nil {
		return a, err
	}
	if (a.CertFile == "") != (a.KeyFile == "") {
		return a, errors.New("has one of cert_file and key_file, which belong together")
	}
	return a, nil
}

func credentials(s string) (user, password string, err error) {
	user, password, _ = strings.Cut(s, ":")
	for _, p := range []*string{&user, &password} {
		if *p, err = url.PathUnescape(*p); err != nil {
			return "", "", errors.New("has a % in user or password that begins no escape")
		}
	}
	return user, password, nil
}

func (a *Address) setHosts(hosts string) error {
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), defaultPorts[a.Kind]
		}
		if n, err := strconv.Atoi(port); name == "" || err != nil || n < 1 || n > 65535 || strings.ContainsAny(name, " /?#@%") {
			return errors.New("lacks a host, or has an invalid port")
		}
		a.Hosts = append(a.Hosts, net.JoinHostPort(name, port))
	}
	if a.Kind == Single && len(a.Hosts) > 1 {
		return errors.New("has several hosts, as only a cluster or sentinels have")
	}
	return nil
}

func (a *Address) setPath(path string) error {
	database := path
	switch a.Kind {
	case Cluster:
		if path != "" {
			return errors.New("has a path, and a cluster has no databases")
		}
	case Sentinel:
		a.Master, database, _ = strings.Cut(path, "/")
		var err error
		if a.Master, err = url.PathUnescape(a.Master); err != nil || a.Master == "" {
			return errors.New("lacks the sentinels' name of the master")
		}
	}
	if database != "" {
		n, err := strconv.Atoi(database)
		if err != nil || n < 0 {
			return errors.New("has a database that is not a number")
		}
		a.Database = n
	}
	return nil
}

func (a *Address) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("has malformed parameters after the question mark")
	}
	for name, value := range values {
		v := value[len(value)-1]
		switch {
		case name == "ca_file" && a.Secure:
			a.CAFile = v
		case name == "cert_file" && a.Secure:
			a.CertFile = v
		case name == "key_file" && a.Secure:
			a.KeyFile = v
		case name == "sentinel_user" && a.Kind == Sentinel:
			a.SentinelUser, a.SentinelCredential = v, true
		case name == "sentinel_password" && a.Kind == Sentinel:
			a.SentinelPassword, a.SentinelCredential = v, true
		default:
			return errors.New("has an unknown parameter after the question mark; " +
				"there are ca_file, cert_file and key_file (with rediss), sentinel_user and sentinel_password (with redis-sentinel)")
		}
	}
	return nil
}

// TLS returns the configuration of TLS, nil without. It reads the files.
func (a *Address) TLS() (*tls.Config, error) {
	if !a.Secure {
		return nil, nil
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(a.Hosts) == 1 || a.Kind == Single {
		cfg.ServerName, _, _ = net.SplitHostPort(a.Hosts[0])
	}
	return cfg, a.readFiles(cfg)
}

// readFiles sets the authorities and the client's certificate that the files have
// now.
func (a *Address) readFiles(cfg *tls.Config) error {
	if a.CAFile != "" {
		pem, err := textfile.Regular(a.CAFile)
		if err != nil {
			return fmt.Errorf("the ca_file %s cannot be read: %w", a.CAFile, err)
		}
		cfg.RootCAs = x509.NewCertPool()
		if !cfg.RootCAs.AppendCertsFromPEM(pem) {
			return fmt.Errorf("the ca_file %s holds no certificate in PEM", a.CAFile)
		}
	}
	if a.CertFile == "" {
		return nil
	}
	var pair [2][]byte
	for i, path := range []string{a.CertFile, a.KeyFile} {
		var err error
		if pair[i], err = textfile.Regular(path); err != nil {
			return fmt.Errorf("the file %s of the client certificate cannot be read: %w", path, err)
		}
	}
	cert, err := tls.X509KeyPair(pair[0], pair[1])
	if err != nil {
		return fmt.Errorf("cert_file %s and key_file %s are not a certificate and its key in PEM", a.CertFile, a.KeyFile)
	}
	cfg.Certificates = []tls.Certificate{cert}
	return nil
}

// dial returns a function that connects to a server, with TLS if secure is not nil.
// It reads the files again for each connection, and uses what it has read last while
// they cannot be used, such as during a change.
func (a *Address) dial(last *atomic.Pointer[tls.Config]) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(ctx context.Context, addr string, d *net.Dialer, secure *tls.Config) (net.Conn, error) {
		if secure == nil {
			return d.DialContext(ctx, "tcp", addr)
		}
		if a.CAFile != "" || a.CertFile != "" {
			fresh := secure.Clone()
			if a.readFiles(fresh) == nil {
				last.Store(fresh)
			}
			read := cmp.Or(last.Load(), secure)
			fresh.RootCAs, fresh.Certificates = read.RootCAs, read.Certificates
			secure = fresh
		}
		return (&tls.Dialer{NetDialer: d, Config: secure}).DialContext(ctx, "tcp", addr)
	}
}

// Option returns the options of a client for the address.
func (a *Address) Option() (rueidis.ClientOption, error) {
	secure, err := a.TLS()
	if err != nil {
		return rueidis.ClientOption{}, err
	}
	option := rueidis.ClientOption{
		InitAddress: a.Hosts, Username: a.User, Password: a.Password, SelectDB: a.Database, TLSConfig: secure,
		DialCtxFn:         a.dial(new(atomic.Pointer[tls.Config])),
		ForceSingleClient: a.Kind == Single,
	}
	if a.Kind == Sentinel {
		option.Sentinel = rueidis.SentinelOption{MasterSet: a.Master, TLSConfig: secure,
			Username: a.User, Password: a.Password}
		if a.SentinelCredential {
			option.Sentinel.Username, option.Sentinel.Password = a.SentinelUser, a.SentinelPassword
		}
	}
	return option, nil
}
