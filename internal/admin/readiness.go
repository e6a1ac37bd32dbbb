package admin

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

// A State is the state of a dependency, or of the process.
type State string

// The states. A degraded process is ready: it serves, although something does not
// work.
const (
	Ready    State = "ready"
	Degraded State = "degraded"
	NotReady State = "not ready"
)

// A Dependency is the state of something that the process needs.
type Dependency struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	// Since is when the state was first seen.
	Since time.Time `json:"since"`
	// Cause is why the state is not Ready.
	Cause string `json:"cause,omitempty"`
}

// A Report is the readiness of the process: the worst state of its dependencies.
type Report struct {
	State        State        `json:"state"`
	Dependencies []Dependency `json:"dependencies,omitempty"`
}

// A Warning is the error of a dependency that does not work, and without which the
// process is still ready.
type Warning struct{ Err error }

func (w *Warning) Error() string { return w.Err.Error() }
func (w *Warning) Unwrap() error { return w.Err }

// Readiness asks the dependencies of a process for their states. It is safe for
// concurrent use.
type Readiness struct {
	timeout time.Duration
	checks  []*check
}

// NewReadiness returns a Readiness without dependencies, which asks each for at
// most timeout.
func NewReadiness(timeout time.Duration) *Readiness { return &Readiness{timeout: timeout} }

// Add adds a dependency. ask returns why it is not ready, a [Warning] if the
// process is ready all the same, or nil. It is not called again while it runs. Add
// must not be called after Report.
func (r *Readiness) Add(name string, ask func(context.Context) error) {
	r.checks = append(r.checks, &check{name: name, ask: ask, since: time.Now()})
}

// AddShared is Add for a dependency that other processes like this one have too,
// such as a database. Once it has been ready, its errors are warnings: if they made
// the process not ready, they would make all processes so at the same time, and a
// load balancer would have none left for what works without the dependency.
func (r *Readiness) AddShared(name string, ask func(context.Context) error) {
	r.checks = append(r.checks, &check{name: name, ask: ask, since: time.Now(), shared: true})
}

// Report asks all dependencies at once.
func (r *Readiness) Report(ctx context.Context) Report {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	report := Report{State: Ready, Dependencies: make([]Dependency, len(r.checks))}
	answers := make([]*answer, len(r.checks))
	for i, c := range r.checks {
		answers[i] = c.begin(r.timeout)
	}
	for i, c := range r.checks {
		d := c.end(ctx, answers[i])
		report.Dependencies[i] = d
		if d.State == NotReady || d.State == Degraded && report.State == Ready {
			report.State = d.State
		}
	}
	return report
}

// A check is a dependency and what was last known of it.
type check struct {
	name   string
	ask    func(context.Context) error
	shared bool

	mu      sync.Mutex
	reached bool    // it has been ready
	running *answer // nil when none is
	state   State   // "" before the first answer
	since   time.Time
}

// An answer is ready when done is closed.
type answer struct {
	done chan struct{}
	err  error
}

// begin asks, or joins a question that is not answered yet: polls do not add up at
// a dependency that does not answer.
func (c *check) begin(timeout time.Duration) *answer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running == nil {
		a := &answer{done: make(chan struct{})}
		c.running = a
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), timeout)
			defer cancel()
			a.err = c.ask(ctx)
			c.mu.Lock()
			c.running = nil
			c.mu.Unlock()
			close(a.done)
		}()
	}
	return c.running
}

// end waits for the answer while the context lasts.
func (c *check) end(ctx context.Context, a *answer) Dependency {
	err := errNoAnswer
	select {
	case <-a.done:
		err = a.err
	case <-ctx.Done():
		select {
		case <-a.done: // at the same time
			err = a.err
		default:
		}
	}
	d := Dependency{Name: c.name, State: Ready}
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		d.State, d.Cause = NotReady, strings.Join(strings.Fields(err.Error()), " ")
		if _, warning := errors.AsType[*Warning](err); warning || c.shared && c.reached {
			d.State = Degraded
		}
	}
	c.reached = c.reached || err == nil
	if c.state != d.State {
		if c.state != "" || d.State != Ready {
			c.since = time.Now()
		}
		c.state = d.State
	}
	d.Since = c.since.UTC().Truncate(time.Second)
	return d
}

var errNoAnswer = errors.New("no answer in time")
