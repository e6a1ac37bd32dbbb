package inprocess

import (
	"context"
	"io"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
)

// options are the options of a call that apply before it.
type options struct {
	maxSend, maxReceive int
	creds               credentials.PerRPCCredentials
	reuse               bool
}

// Reuse returns an option for streams of google.api.HttpBody, in process or over a
// network, whose caller receives into one message and keeps none of its data: the
// data of the next message then has the same memory.
func Reuse() grpc.CallOption { return grpc.ForceCodecV2(reusing{}) }

// reusing is the codec of Protobuf, for a network, that decodes as unpack does.
type reusing struct{}

func (reusing) Name() string { return "proto" }

func (reusing) Marshal(v any) (mem.BufferSlice, error) {
	return encoding.GetCodecV2("proto").Marshal(v)
}

func (reusing) Unmarshal(data mem.BufferSlice, v any) error {
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	if decodeBytes(buffer.ReadOnlyData(), v) {
		return nil
	}
	return encoding.GetCodecV2("proto").Unmarshal(data, v)
}

// ReuseReceived is Reuse for the service of a stream, which receives into one message
// and keeps none of its data, given the context of the stream. It reports whether the
// stream is one in process.
func ReuseReceived(ctx context.Context) bool {
	c, ok := grpc.ServerTransportStreamFromContext(ctx).(*call)
	if ok {
		c.reuse.Store(true)
	}
	return ok
}

// newOptions reads the options that apply in process. It ignores those about
// waiting, retries, compression and authority, and refuses those that would encode
// messages differently.
func newOptions(opts []grpc.CallOption) (options, error) {
	o := options{maxSend: math.MaxInt32, maxReceive: defaultMaxBytes}
	refuse := func(name string) (options, error) {
		return o, status.Errorf(codes.Unimplemented, "in process every message is Protobuf: remove the call option %s", name)
	}
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.MaxSendMsgSizeCallOption:
			o.maxSend = opt.MaxSendMsgSize
		case grpc.MaxRecvMsgSizeCallOption:
			o.maxReceive = opt.MaxRecvMsgSize
		case grpc.PerRPCCredsCallOption:
			o.creds = opt.Creds
		case grpc.ContentSubtypeCallOption:
			if opt.ContentSubtype != "" && opt.ContentSubtype != "proto" {
				return refuse("CallContentSubtype")
			}
		case grpc.ForceCodecCallOption:
			return refuse("ForceCodec")
		case grpc.ForceCodecV2CallOption:
			if _, o.reuse = opt.CodecV2.(reusing); !o.reuse {
				return refuse("ForceCodecV2")
			}
		case grpc.CustomCodecCallOption:
			return refuse("CallCustomCodec")
		}
	}
	return o, nil
}

// after gives the caller what its options ask for when the call has ended.
func (o *options) after(opts []grpc.CallOption, call *call, err error) {
	for _, opt := range opts {
		switch opt := opt.(type) {
		case grpc.HeaderCallOption:
			*opt.HeaderAddr = call.sentHeader()
		case grpc.TrailerCallOption:
			*opt.TrailerAddr = call.sentTrailer()
		case grpc.PeerCallOption:
			*opt.PeerAddr = *self
		case grpc.OnFinishCallOption:
			if err == io.EOF {
				err = nil
			}
			opt.OnFinish(err)
		}
	}
}
