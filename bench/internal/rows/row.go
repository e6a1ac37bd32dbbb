//go:build linux

package rows

import (
	"context"
	"slices"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
)

// A Row is one way to the answer.
type Row struct {
	// Name selects the row: lower-case words with hyphens.
	Name string
	// Title says what it is, in the table.
	Title string
	// Product is whose program the row measures, for the plot and -against.
	Product Product
	// Credential is what the request carries.
	Credential Credential
	// Open is whether the request is answered without the credential too, because no part
	// that would refuse it is measured.
	Open bool
	// Caches says what is remembered between requests, and by which part; Logs what each part
	// writes for a request. Both are for readers who judge whether the comparison is fair.
	Caches, Logs string
	// Missing returns why the row cannot be had on this machine, with the remedy, or "". Nil
	// means that it always can.
	Missing func(*Env) string
	// Start starts the servers and signs users in.
	Start func(context.Context, *Env) (*Target, error)
}

// A Product is whose program a row measures.
type Product string

// The products with rows of their own meaning; others are named as their makers do.
const (
	Reference Product = "reference"
	Gatehouse Product = "Gatehouse"
)

// A Credential is what a request carries.
type Credential string

// The kinds of credentials.
const (
	None     Credential = "none"
	Bearer   Credential = "bearer token"
	SignedIn Credential = "session cookie"
)

// A Target is what Start has started.
type Target struct {
	// Address is the host and port that the client connects to.
	Address string
	// Host is the header's value; "" means Address.
	Host string
	// Path is the path of the GET; "" means that of all rows.
	Path string
	// Processes are the servers. Their descendants are measured with them.
	Processes []*proc.Process
	// Credentials are header lines, one for each connection; nil if the row needs none.
	Credentials []string
	// Versions are what is measured, such as "Redis 7.0.15", except Gatehouse itself.
	Versions []string
}

// Floor is the name of the row to which all others are compared.
const Floor = "floor"

// All returns all rows in the order of the report, the floor first.
func All() []Row {
	return slices.Concat(
		references(),
		networks(),
		gatehouses(),
	)
}

// Roles are the servers that this program is itself, by the name of the role. They get the address
// to listen on, and further arguments of the row.
func Roles() map[string]func(ctx context.Context, address string, args []string) error {
	return map[string]func(context.Context, string, []string) error{
		roleFloor:       serveFloor,
		rolePlain:       servePlain,
		roleGRPC:        serveGRPC,
		rolePlainRemote: servePlainRemote,
		roleProxy:       serveProxy,
		roleUsers:       serveUsers,
	}
}
