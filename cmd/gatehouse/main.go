// Command gatehouse owns the program with the sample application. It leaves
// everything but the choice of the application to package gatehouse.
package main

import (
	_ "embed"

	_ "gocloud.dev/blob/s3blob" // files-url=s3://BUCKET; 12 MB that other programs do not need

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive"
)

//go:embed comments.binpb
var comments []byte // of the .proto files; make generate writes it

func main() { gatehouse.Main(app()) }

func app() gatehouse.App {
	app := audioarchive.App()
	app.Comments = comments
	return app
}
