package gatehouse_test

import (
	"context"
	"fmt"
	"os"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc"

	"github.com/gatehouse-dev/gatehouse"
)

// Notes stands for the implementation of a service.
type Notes struct{ PageSize int }

// What the generators write for the service.
type (
	notesServer any
	notesClient any
)

var notesDesc = grpc.ServiceDesc{ServiceName: "notes.v1.NotesService", HandlerType: (*notesServer)(nil)}

func newNotesClient(grpc.ClientConnInterface) notesClient { return nil }

func registerNotes(context.Context, *runtime.ServeMux, notesClient) error { return nil }

// The main function of an application. It has the commands, settings and ports
// of Gatehouse.
func ExampleMain() {
	notes := &Notes{}
	gatehouse.Main(gatehouse.App{
		Name: "notes", Title: "Notes", Version: "1",
		Services: []gatehouse.Service{
			gatehouse.NewService(&notesDesc, newNotesClient, registerNotes, notes),
		},
		Settings: []gatehouse.Setting{{
			Name: "page-size", Placeholder: "N", Default: "20", Help: "The number of notes on a page.",
			Target: &notes.PageSize,
		}},
	})
}

// A setting of the application is read and checked like those of the program.
func ExampleSetting() {
	var pageSize int
	app := gatehouse.App{Name: "notes", Settings: []gatehouse.Setting{{Name: "page-size", Target: &pageSize}}}
	environ := []string{
		"NOTES_PAGE_SIZE=many", "GATEHOUSE_GRPC_TARGET=dns:///server:9090",
	}
	code := gatehouse.Run(context.Background(), app, []string{"gateway"}, environ, os.Stdout, os.Stdout)
	fmt.Println("exit code", code)
	// Output:
	// notes: NOTES_PAGE_SIZE=many (environment): is not a whole number; write digits alone, such as 120
	// exit code 2
}

// A service whose implementation needs the settings is opened by the program.
func ExampleNewServiceFunc() {
	open := func(ctx context.Context, env gatehouse.Environment) (*Notes, error) {
		env.Logger.InfoContext(ctx, "open notes", "development", env.Development)
		return &Notes{}, nil // with a database at env.DatabaseURL, for example
	}
	_ = gatehouse.App{Services: []gatehouse.Service{
		gatehouse.NewServiceFunc(&notesDesc, newNotesClient, registerNotes, open),
	}}
}
