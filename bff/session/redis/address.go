package redis

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/gatehouse-dev/gatehouse/internal/textfile"
)

// forms are what an address may look like.
const forms = "give redis://[USER:PASSWORD@]HOST:PORT[/DATABASE], redis-cluster://HOST:PORT,HOST:PORT or redis-sentinel://HOST:PORT,HOST:PORT/MASTER, " +
	"each also as rediss… for TLS, with special characters of the password percent-encoded"

// address is where a Redis is. Its errors quote nothing of what it was made from, since a password may be anywhere in it.
type address struct {
	kind               kind
	secure             bool
	user, password     string
	hosts              []string
	master             string // of sentinel
	database           int
	caFile             string
	sentinelUser       string
	sentinelPassword   string
	sentinelCredential bool
}

type kind string

const (
	single   kind = "redis"
	cluster  kind = "redis-cluster"
	sentinel kind = "redis-sentinel"
)

// CheckURL says what is wrong with a [Config.URL], without contacting anybody.
func CheckURL(s string) error {
	_, err := parseAddress(s)
	return err
}

// parseAddress reads an address, which package net/url does not if it has several hosts.
func parseAddress(s string) (a address, err error) {
	scheme, rest, ok := strings.Cut(s, "://")
	if !ok {
		return a, errors.New("not an address of Redis: " + forms)
	}
	name, secure := strings.CutPrefix(scheme, "rediss")
	if !secure {
		name = strings.TrimPrefix(scheme, "redis")
	}
	a.kind, a.secure = kind("redis"+name), secure
	if a.kind != single && a.kind != cluster && a.kind != sentinel || !strings.HasPrefix(scheme, "redis") {
		return a, errors.New("no such kind of Redis: " + forms)
	}
	rest, query, _ := strings.Cut(rest, "?")
	if i := strings.LastIndexByte(rest, '@'); i >= 0 {
		if a.user, a.password, err = credentials(rest[:i]); err != nil {
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
	return a, a.setQuery(query)
}

func credentials(s string) (user, password string, err error) {
	user, password, _ = strings.Cut(s, ":")
	for _, p := range []*string{&user, &password} {
		if *p, err = url.PathUnescape(*p); err != nil {
			return "", "", errors.New("user or password have a % that begins no escape: percent-encode special characters")
		}
	}
	return user, password, nil
}

func (a *address) setHosts(hosts string) error {
	for host := range strings.SplitSeq(hosts, ",") {
		name, port, err := net.SplitHostPort(host)
		if err != nil {
			name, port = strings.Trim(host, "[]"), map[kind]string{single: "6379", cluster: "6379", sentinel: "26379"}[a.kind]
		}
		if n, err := strconv.Atoi(port); name == "" || err != nil || n < 1 || n > 65535 || strings.ContainsAny(name, " /?#@%") {
			return errors.New("the address lacks a host, or has a port that is none: " + forms)
		}
		a.hosts = append(a.hosts, net.JoinHostPort(name, port))
	}
	if a.kind == single && len(a.hosts) > 1 {
		return errors.New("several hosts: write redis-cluster:// if they are a cluster, redis-sentinel://…/MASTER if they are sentinels")
	}
	return nil
}

func (a *address) setPath(path string) error {
	database := path
	switch a.kind {
	case cluster:
		if path != "" {
			return errors.New("a cluster has no databases: leave the path away")
		}
	case sentinel:
		a.master, database, _ = strings.Cut(path, "/")
		var err error
		if a.master, err = url.PathUnescape(a.master); err != nil || a.master == "" {
			return errors.New("the sentinels' name for the master is missing: write redis-sentinel://HOST:PORT/MASTER")
		}
	}
	if database != "" {
		n, err := strconv.Atoi(database)
		if err != nil || n < 0 {
			return errors.New("the database is no number: " + forms)
		}
		a.database = n
	}
	return nil
}

func (a *address) setQuery(query string) error {
	values, err := url.ParseQuery(query)
	if err != nil {
		return errors.New("what follows the question mark is malformed: " + forms)
	}
	for name, value := range values {
		v := value[len(value)-1]
		switch {
		case name == "ca_file" && a.secure:
			a.caFile = v
		case name == "sentinel_user" && a.kind == sentinel:
			a.sentinelUser, a.sentinelCredential = v, true
		case name == "sentinel_password" && a.kind == sentinel:
			a.sentinelPassword, a.sentinelCredential = v, true
		default:
			return errors.New("an unknown parameter follows the question mark: there are ca_file (with rediss), sentinel_user and sentinel_password (with redis-sentinel)")
		}
	}
	return nil
}

// tlsConfig is nil without TLS. The system's authorities are trusted, or those in the file.
func (a *address) tlsConfig() (*tls.Config, error) {
	if !a.secure {
		return nil, nil
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(a.hosts) == 1 || a.kind == single {
		c.ServerName, _, _ = net.SplitHostPort(a.hosts[0])
	}
	if a.caFile == "" {
		return c, nil
	}
	pem, err := textfile.Read(a.caFile)
	if err != nil {
		return nil, fmt.Errorf("the ca_file %s cannot be read: %w", a.caFile, err)
	}
	c.RootCAs = x509.NewCertPool()
	if !c.RootCAs.AppendCertsFromPEM([]byte(pem)) {
		return nil, fmt.Errorf("the ca_file %s holds no certificate in PEM", a.caFile)
	}
	return c, nil
}
