package openapi_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/gatehouse-dev/gatehouse/gateway/openapi"
)

// FuzzComments checks that Document returns a document or an error for any file of
// comments.
func FuzzComments(f *testing.F) {
	content, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("a.proto"), MessageType: []*descriptorpb.DescriptorProto{{Name: proto.String("M")}},
		SourceCodeInfo: &descriptorpb.SourceCodeInfo{Location: []*descriptorpb.SourceCodeInfo_Location{
			{Path: []int32{4, 0}, LeadingComments: proto.String(" A. B\n Example: 1\n")},
		}},
	}}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content)
	f.Add([]byte("\n\x00"))
	f.Fuzz(func(t *testing.T, content []byte) {
		document, err := openapi.Document(openapi.Config{Title: "T", Version: "1", Comments: content})
		if (document == nil) != (err != nil) {
			t.Errorf("got a document of %d bytes and the error %v", len(document), err)
		}
	})
}
