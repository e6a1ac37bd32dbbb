//go:build linux

package rows

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse-dev/gatehouse/bench/internal/proc"
	"github.com/gatehouse-dev/gatehouse/internal/devidp"
	"github.com/gatehouse-dev/gatehouse/internal/devidp/directory"
)

const (
	roleUsers = "users"
	// parallelLogins is how many users sign in at once.
	parallelLogins = 4
)

// Users are users who sign in, and their provider, in a process of their own: the processor time
// of this process is then the bff's.
type Users struct {
	Issuer, ClientID, ClientSecret string
	origin                         string
}

// Users starts the process, for a bff with this base URL.
func (e *Env) Users(ctx context.Context, baseURL string) (*Users, error) {
	address, err := proc.FreeAddress()
	if err != nil {
		return nil, err
	}
	u := &Users{Issuer: "http://" + address, ClientID: "bench", ClientSecret: rand.Text()}
	var p *proc.Process
	if p, u.origin, err = e.LaunchRole(ctx, roleUsers, address, baseURL, u.ClientID, u.ClientSecret); err != nil {
		return nil, err
	}
	u.origin = "http://" + u.origin
	return u, p.Listening(ctx, address)
}

// SignIn has n users sign in, a few at once, each with a browser without cookies that shares its
// connections with the others. Each loads the first page.
func (u *Users) SignIn(ctx context.Context, n int) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.origin+"?n="+strconv.Itoa(n), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	problem, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("sign in %d users: %s: %s", n, resp.Status, problem)
	}
	return err
}

// serveUsers serves the provider at the address of the first argument, and Users.SignIn at another.
func serveUsers(ctx context.Context, address string, args []string) error {
	if len(args) != 4 {
		return fmt.Errorf("%d arguments, want the provider's address, the base URL, a client and its secret", len(args))
	}
	issuer, baseURL := "http://"+args[0], args[1]
	users := make([]directory.User, 200) // with a few sessions each
	for i := range users {
		users[i] = directory.User{Key: "user" + strconv.Itoa(i), Permissions: []string{"products:write"}}
	}
	provider, err := devidp.New(devidp.Config{
		Issuer:   issuer,
		Clients:  []devidp.Client{{ID: args[2], Secret: args[3], RedirectURIs: []string{baseURL + "/api/auth/callback"}}},
		Users:    users,
		Audience: Audience, NewKey: func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	})
	if err != nil {
		return err
	}
	var next atomic.Int64
	failed := make(chan error, 2)
	go func() { failed <- ListenAndServe(ctx, args[0], provider) }()
	go func() {
		failed <- ListenAndServe(ctx, address, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.Atoi(r.URL.Query().Get("n"))
			group, ctx := errgroup.WithContext(r.Context())
			group.SetLimit(parallelLogins)
			for range n {
				group.Go(func() error {
					_, err := signIn(ctx, baseURL+"/api/auth/login", users[int(next.Add(1))%len(users)].Key)
					return err
				})
			}
			err = cmp.Or(err, group.Wait())
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
			}
		}))
	}()
	return <-failed
}
