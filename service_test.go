package gatehouse

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse/gateway"
)

// greeter is the server interface of a service that only has a descriptor.
type greeter interface{ Greet() }

var greeterDesc = grpc.ServiceDesc{ServiceName: "greeter.v1.GreeterService", HandlerType: (*greeter)(nil)}

func greeterClient(grpc.ClientConnInterface) any { return nil }

func registerGreeter(context.Context, *runtime.ServeMux, any) error { return nil }

// polite implements greeter and every optional method, and records the calls.
type polite struct {
	calls []string
	err   error
}

func (p *polite) Greet() {}

func (p *polite) Ready(context.Context) error { p.calls = append(p.calls, "ready"); return p.err }
func (p *polite) Drain()                      { p.calls = append(p.calls, "drain") }
func (p *polite) Close() error                { p.calls = append(p.calls, "close"); return nil }

// TestOptionalMethods: an implementation's Ready, Drain and Close are called.
func TestOptionalMethods(t *testing.T) {
	t.Parallel()
	impl := &polite{err: errors.New("no paper")}
	services := []Service{
		NewService(&greeterDesc, greeterClient, registerGreeter, impl),
		NewServiceFunc(&greeterDesc, greeterClient, registerGreeter, func(context.Context, Environment) (silent, error) { return silent{}, nil }),
	}
	all, err := openServices(t.Context(), services, Environment{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if err := all.Ready(t.Context()); !errors.Is(err, impl.err) {
		t.Errorf("ready: got %v, want %v", err, impl.err)
	}
	if err := errors.Join(all.Drain(t.Context()), all.Close()); err != nil {
		t.Error(err)
	}
	if got := strings.Join(impl.calls, " "); got != "ready drain close" {
		t.Errorf("called %q, want each method once", got)
	}
}

// silent implements greeter and no optional method.
type silent struct{}

func (silent) Greet() {}

// TestBadImplementation: a service that is not implemented, or cannot be opened,
// stops the start, and what is open is closed.
func TestBadImplementation(t *testing.T) {
	t.Parallel()
	failed := errors.New("no ink")
	for want, bad := range map[string]Service{
		"gatehouse: service greeter.v1.GreeterService: implementation string is not a gatehouse.greeter": NewService(&greeterDesc, greeterClient, registerGreeter, "hello"),
		"gatehouse: service greeter.v1.GreeterService: implementation <nil> is not a":                    NewService(&greeterDesc, greeterClient, registerGreeter, nil),
		"no ink": NewServiceFunc(&greeterDesc, greeterClient, registerGreeter, func(context.Context, Environment) (silent, error) { return silent{}, failed }),
	} {
		impl := &polite{}
		_, err := openServices(t.Context(), []Service{NewService(&greeterDesc, greeterClient, registerGreeter, impl), bad}, Environment{Logger: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), want) || strings.Join(impl.calls, " ") != "close" {
			t.Errorf("got %v, calls %q, want %q and the first service closed", err, impl.calls, want)
		}
	}
}

// TestGRPCOnly checks that a service without functions of the gateway is
// registered at the server and not exposed, and that a nil of the two is reported.
func TestGRPCOnly(t *testing.T) {
	t.Parallel()
	services := []Service{NewService[any](&greeterDesc, nil, nil, silent{})}
	if got := exposedServices(services); len(got) != 0 {
		t.Errorf("exposed %d services, want none", len(got))
	}
	all, err := openServices(t.Context(), services, Environment{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	all.Register(s)
	if _, ok := s.GetServiceInfo()[greeterDesc.ServiceName]; !ok {
		t.Errorf("the server has %v, want %s", s.GetServiceInfo(), greeterDesc.ServiceName)
	}
	half := exposedServices([]Service{NewService(&greeterDesc, greeterClient, nil, silent{})})
	if _, err := gateway.New(gateway.Config{Conn: new(grpc.ClientConn), Services: half}); err == nil || !strings.Contains(err.Error(), "has no generated functions") {
		t.Errorf("without rest: got %v, want an error of the gateway", err)
	}
}

// TestApplicationSettings: settings of an application have variables with its
// name, and must not take a name of the program's.
func TestApplicationSettings(t *testing.T) {
	t.Parallel()
	var size int
	var secret string
	app := App{Name: "note-book", Settings: []Setting{{Name: "page-size", Default: "20", Target: &size}, {Name: "token", Secret: true, Target: &secret}}}
	read := func(environ ...string) string {
		var er strings.Builder
		Run(t.Context(), app, []string{"gateway"}, environ, io.Discard, &er) // ends with an error: there is no target
		return er.String()
	}
	if read(); size != 20 {
		t.Errorf("got %d, want the default", size)
	}
	if said := read("NOTE_BOOK_PAGE_SIZE=7", "NOTE_BOOK_TOKEN=hunter2", "NOTE_BOOK_TOKN=x"); size != 7 || secret != "hunter2" ||
		!strings.Contains(said, "NOTE_BOOK_TOKN (environment) is the name of no setting and has no effect; did you mean NOTE_BOOK_TOKEN?") {
		t.Errorf("got %d and %q: %s", size, secret, said)
	}
	for _, name := range []string{"audience", "page-size"} {
		bad := app
		bad.Settings = append(bad.Settings[:2:2], Setting{Name: name, Target: &secret})
		var er strings.Builder
		if code := Run(t.Context(), bad, []string{"version"}, nil, io.Discard, &er); code != exitUsage || !strings.Contains(er.String(), "two settings are named") {
			t.Errorf("%s: exit code %d, %s", name, code, er.String())
		}
	}
}

// TestWrongApp checks that every command reports a faulty App, and names the field.
func TestWrongApp(t *testing.T) {
	t.Parallel()
	with := func(s Setting) App { return App{Name: "notes", Settings: []Setting{s}} }
	for name, c := range map[string]struct {
		app  App
		want string
	}{
		"name of the app":      {App{Name: "My Notes"}, `App.Name "My Notes" is not a name`},
		"name of a setting":    {with(Setting{Name: "Max Notes", Target: new(string)}), `App.Settings: setting "Max Notes" is not a name`},
		"name of a flag":       {with(Setting{Name: "help", Target: new(string)}), "two settings are named help"},
		"no target":            {with(Setting{Name: "size"}), "App.Settings: setting size: the target <nil> is not a pointer"},
		"nil target":           {with(Setting{Name: "size", Target: (*int)(nil)}), "setting size: the target *int is not a pointer to a variable"},
		"target is no pointer": {with(Setting{Name: "size", Target: 5}), "setting size: the target int is not a pointer"},
		"type of the target":   {with(Setting{Name: "ratio", Target: new(float64)}), "setting ratio: the target *float64 cannot be decoded"},
		"items of the target":  {with(Setting{Name: "ratio", Target: new([]float64)}), "setting ratio: the target *[]float64 cannot be decoded"},
		"default":              {with(Setting{Name: "size", Default: "many", Target: new(int)}), `setting size: the default "many" is not a whole number`},
		"zero service":         {App{Services: []Service{{}}}, "App.Services[0] has no descriptor"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var er strings.Builder
			if code := Run(t.Context(), c.app, []string{"version"}, nil, io.Discard, &er); code != exitUsage || !strings.Contains(er.String(), c.want) {
				t.Errorf("got exit code %d and %q, want %d and %q", code, er.String(), exitUsage, c.want)
			}
		})
	}
}

// TestListDefault checks that the default of a list is given with commas, as other
// values are.
func TestListDefault(t *testing.T) {
	t.Parallel()
	var tags []string
	app := App{Name: "notes", Settings: []Setting{{Name: "tags", Default: "a,b", Target: &tags}}}
	Run(t.Context(), app, []string{"gateway"}, nil, io.Discard, io.Discard) // ends with an error: there is no target
	if !slices.Equal(tags, []string{"a", "b"}) {
		t.Errorf("got %q, want a and b", tags)
	}
}

// TestOpenFails checks that the error of an implementation names its service.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	s := NewServiceFunc(&grpc.ServiceDesc{ServiceName: "notes.v1.NotesService"}, func(grpc.ClientConnInterface) any { return nil },
		func(context.Context, *runtime.ServeMux, any) error { return nil },
		func(context.Context, Environment) (any, error) { return nil, errors.New("no table notes") })
	if _, err := openServices(t.Context(), []Service{s}, Environment{Logger: slog.New(slog.DiscardHandler)}); err == nil || err.Error() != "open service notes.v1.NotesService: no table notes" {
		t.Errorf("got %v", err)
	}
}
