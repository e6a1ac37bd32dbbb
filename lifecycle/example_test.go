package lifecycle_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/gatehouse-dev/gatehouse/lifecycle"
)

// A program with one web server stops when it is told to, or here, when a
// request asks for it; that request still gets its answer.
func Example() {
	ctx, stop := lifecycle.NotifyContext(context.Background()) // SIGTERM, Ctrl-C
	defer stop()
	web := &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			stop()
			fmt.Fprintln(w, "stopping")
		}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	program := lifecycle.Config{
		Front:           []*lifecycle.Part{{Name: "web", Address: "127.0.0.1:0", Setting: "--listen", Server: web}},
		ShutdownTimeout: 10 * time.Second,
		Logger:          slog.New(slog.DiscardHandler),
	}
	if err := program.Listen(); err != nil { // Run would do it too
		fmt.Println(err)
		return
	}
	go func() {
		resp, err := http.Get("http://" + program.Front[0].Listener.Addr().String())
		if err == nil {
			resp.Body.Close()
		}
	}()
	fmt.Println("ended:", lifecycle.Run(ctx, program))
	// Output: ended: <nil>
}

// With bff, gateway and server in one program, the ones that call others stop
// first:
//
//	lifecycle.Run(ctx, lifecycle.Config{
//		Front: []*lifecycle.Part{
//			{Name: "bff", Address: ":3000", Server: web.Server(), Run: web.Run},
//			{Name: "gateway", Address: ":5000", Server: rest.Server()},
//		},
//		Back: []*lifecycle.Part{{Name: "server", Address: ":9090", Server: api, Run: api.Run}},
//	})
func ExampleRun() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel() // as if told to stop at once
	err := lifecycle.Run(ctx, lifecycle.Config{
		Front: []*lifecycle.Part{{Name: "pages", Address: "127.0.0.1:0", Server: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}}},
		Back:  []*lifecycle.Part{{Name: "data", Address: "127.0.0.1:0", Server: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}}},
	})
	fmt.Println(err)
	// Output: <nil>
}
