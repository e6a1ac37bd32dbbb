package inprocess

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// encodeWithin encodes a message within the sender's limit. So what cannot be sent over
// a network, such as a string that is not UTF-8, cannot be sent here either, and the two
// ends may have different Go types for one message. The errors have the text of grpc-go.
func encodeWithin(m any, limit int) ([]byte, error) {
	if m == nil { // for grpc-go an empty message
		return nil, nil
	}
	pm := message(m)
	if pm == nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: proto: failed to marshal, message is %T, want proto.Message", m)
	}
	raw, err := proto.Marshal(pm)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "grpc: error while marshaling: %v", err)
	}
	if len(raw) > limit {
		return nil, status.Errorf(codes.ResourceExhausted, "trying to send message larger than max (%d vs. %d)", len(raw), limit)
	}
	return raw, nil
}

// decodeWithin decodes a message within the receiver's limit.
func decodeWithin(raw []byte, m any, limit int) error {
	if err := withinLimit(raw, limit); err != nil {
		return err
	}
	return decode(raw, m, "failed to unmarshal the received message")
}

func decode(raw []byte, m any, failed string) error {
	pm := message(m)
	if pm == nil {
		return status.Errorf(codes.Internal, "grpc: %s: failed to unmarshal, message is %T, want proto.Message", failed, m)
	}
	if err := proto.Unmarshal(raw, pm); err != nil {
		return status.Errorf(codes.Internal, "grpc: %s: %v", failed, err)
	}
	return nil
}

func withinLimit(raw []byte, limit int) error {
	if len(raw) > limit {
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", len(raw), limit)
	}
	return nil
}

func message(m any) proto.Message {
	switch m := m.(type) {
	case proto.Message:
		return m
	case protoadapt.MessageV1:
		return protoadapt.MessageV2Of(m)
	}
	return nil
}
