package inprocess

import (
	"io"
	"math"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"
)

// options are the options of a call that apply before it.
type options struct {
	maxSend, maxReceive int
	creds               credentials.PerRPCCredentials
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
			return refuse("ForceCodecV2")
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
