package redisaddr

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/gatehouse-dev/gatehouse/internal/cause"
)

// Refusal returns the text of an error that Redis answers, without the arguments
// of the command, which servers that do not support HELLO quote with the password.
func Refusal(refused error) string {
	text, _, _ := strings.Cut(refused.Error(), ", with args beginning with")
	return text
}

// Refused returns why Redis refuses a command, and a remedy.
func Refused(refused *rueidis.RedisError) error {
	return fmt.Errorf("Redis refuses (%s): %s", Refusal(refused), remedy(refused))
}

// Explain returns why Redis at these hosts cannot be used, and a remedy. The error is
// cause.ErrUnavailable if that may pass by itself.
func Explain(hosts []string, secure bool, err error) error {
	if refused, ok := errors.AsType[*rueidis.RedisError](err); ok {
		if remedy(refused) == notReady {
			return cause.Unavailable(Refused(refused))
		}
		return Refused(refused)
	}
	where := "Redis at " + strings.Join(hosts, ",") + " cannot be used"
	problem, remedy := connection(hosts[0], secure, err)
	explained := fmt.Errorf("%s (%w): start it, or correct the address", where, err)
	if problem != "" {
		explained = fmt.Errorf("%s: %s: %s", where, problem, remedy)
	}
	if cause.Passing(err) && !strings.Contains(problem, "TLS") {
		return cause.Unavailable(explained)
	}
	return explained
}

// remedies are by the first word of an error.
var remedies = map[string]string{
	"WRONGPASS":   "correct user or password",
	"NOAUTH":      "give user and password in the address",
	"NOPERM":      "give the user that right (ACL SETUSER)",
	"READONLY":    "give the address of the master: this server takes no writes",
	"OOM":         "give Redis more memory",
	"NOREPLICAS":  "start its replicas, or lower min-replicas-to-write",
	"MISCONF":     "see the log of Redis: it cannot write to its disk",
	"LOADING":     notReady,
	"BUSY":        notReady,
	"MASTERDOWN":  notReady,
	"CLUSTERDOWN": notReady,
	"DENIED":      "Redis is in protected mode: set a password there, or let it listen on loopback",
}

const notReady = "wait until it is ready, or see its log"

// remedy returns what to do about an error that Redis answers.
func remedy(refused error) string {
	code, _, _ := strings.Cut(refused.Error(), " ")
	if remedy, ok := remedies[code]; ok {
		return remedy
	}
	if strings.Contains(refused.Error(), "max number of clients") {
		return "raise maxclients, or give each client fewer connections"
	}
	return "correct user, password or the user's rights"
}

// within bounds the search for the cause of a failure.
const within = time.Second

// connection returns what is wrong with the connection to a host and port, as
// package cause does. It also detects that only one side uses TLS, which the client
// sees as silence or as a closed connection.
func connection(addr string, secure bool, err error) (problem, remedy string) {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	problem, remedy = cause.Of(err)
	if strings.Contains(problem, "certificate") || strings.Contains(problem, "host name") {
		return problem, remedy
	}
	switch {
	case secure && speaksPlain(ctx, addr):
		return "the server does not speak TLS at this port", "write redis… instead of rediss… in the address, or turn TLS on there"
	case !secure && speaksTLS(ctx, addr):
		return "the server speaks TLS at this port", "write rediss… instead of redis… in the address"
	}
	return problem, remedy
}

func speaksPlain(ctx context.Context, addr string) bool {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline)
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	first := make([]byte, 1)
	_, err = io.ReadFull(conn, first)
	return err == nil && (first[0] == '+' || first[0] == '-')
}

func speaksTLS(ctx context.Context, addr string) bool {
	// Nothing confidential is sent, so the certificate does not matter.
	conn, err := (&tls.Dialer{Config: &tls.Config{InsecureSkipVerify: true}}).DialContext(ctx,
		"tcp", addr)
	if err != nil {
		_, refused := cause.Alert(err) // such as a demand for a client certificate
		return refused
	}
	_ = conn.Close()
	return true
}
