package logs

import (
	"context"
	"errors"
	"hash/fnv"
	"log/slog"
	"math"
	"strconv"
	"time"
)

// slow is the duration from which on a request is always logged.
const slow = time.Second

// A Share is the share of requests that are logged, from 0 to 1.
type Share float64

// UnmarshalText reads on, off or a number.
func (s *Share) UnmarshalText(text []byte) error {
	switch string(text) {
	case "on":
		*s = 1
		return nil
	case "off":
		*s = 0
		return nil
	}
	share, err := strconv.ParseFloat(string(text), 64)
	if err != nil || !(share >= 0 && share <= 1) {
		return errors.New("is not a share of requests; give on, off, or a number from 0 to 1, such as 0.01")
	}
	*s = Share(share)
	return nil
}

// Sample wraps a handler so that it writes the lines of this share of requests, and those
// of all requests that failed or took a second or more. The id of the request decides, so
// that all processes write the lines of the same requests.
func Sample(h slog.Handler, share Share) slog.Handler {
	if share >= 1 {
		return h
	}
	return sampler{h, uint64(float64(share) * math.MaxUint32)}
}

type sampler struct {
	slog.Handler
	most uint64 // hashes below it are written
}

func (s sampler) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == Request && r.Level == slog.LevelInfo && !s.writes(r) {
		return nil
	}
	return s.Handler.Handle(ctx, r)
}

func (s sampler) writes(r slog.Record) (write bool) {
	eachAttr(r, func(a slog.Attr) bool {
		switch a.Key {
		case RequestID:
			hash := fnv.New32a()
			_, _ = hash.Write([]byte(a.Value.String())) // returns no error
			write = write || uint64(hash.Sum32()) < s.most
		case "duration":
			write = write || a.Value.Kind() == slog.KindFloat64 && a.Value.Float64() >= slow.Seconds()
		}
		return !write
	})
	return write
}

func (s sampler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return sampler{s.Handler.WithAttrs(attrs), s.most}
}

func (s sampler) WithGroup(name string) slog.Handler {
	return sampler{s.Handler.WithGroup(name), s.most}
}
