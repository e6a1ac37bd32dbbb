package blobs_test

import (
	"encoding/hex"
	"io"
	"os"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/gatehouse-dev/gatehouse/server/blobs"
)

// A method that downloads, declared as
//
//	rpc DownloadManual(google.protobuf.Empty) returns (stream google.api.HttpBody)
//
// A bucket of gocloud.dev/blob opens ranges itself, with NewRangeReader.
func ExampleServe() {
	_ = func(_ *emptypb.Empty, stream grpc.ServerStreamingServer[httpbody.HttpBody]) error {
		file, err := os.Open("manual.pdf")
		if err != nil {
			return status.Error(codes.NotFound, "there is no manual yet")
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil {
			return err
		}
		return blobs.Serve(stream, blobs.File{
			Open: blobs.Seeker(file), Size: info.Size(), ModTime: info.ModTime(),
			Name: "Manual – deutsch.pdf", ContentType: "application/pdf",
		})
	}
}

// A method that uploads, declared as
//
//	rpc UploadManual(stream google.api.HttpBody) returns (google.protobuf.Empty)
//
// The file gets its name only when it is complete: io.Copy returns an error for an
// upload that broke off or is too long, and no error for a complete one alone.
func ExampleReceive() {
	_ = func(stream grpc.ClientStreamingServer[httpbody.HttpBody, emptypb.Empty]) error {
		_, upload, err := blobs.Receive(stream, blobs.Body, 2<<30)
		if err != nil {
			return err
		}
		file, err := os.CreateTemp("manuals", "*.part")
		if err != nil {
			return err
		}
		defer os.Remove(file.Name()) // nothing is left of a failed upload
		_, err = io.Copy(file, upload)
		if closed := file.Close(); err == nil {
			err = closed
		}
		if err == nil {
			err = os.Rename(file.Name(), "manuals/"+hex.EncodeToString(upload.SHA256()))
		}
		if err != nil {
			return err
		}
		return stream.SendAndClose(&emptypb.Empty{})
	}
}
