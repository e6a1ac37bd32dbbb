package files

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/server/blobs"
)

const (
	demoRate    = 8000 // samples per second
	demoSeconds = 4
)

// AddDemo gives a demo product a short recording: a click in its tempo.
func (s *Service) AddDemo(ctx context.Context, p productdb.Product) error {
	content := demoWAV(int(cmp.Or(p.Tempo, 60)))
	_, err := s.replace(ctx, p.ID, p.Title+".wav", int64(len(content)), &demoContent{bytes.NewReader(content), content},
		func(productdb.Product) error { return nil })
	return err
}

// demoWAV returns a recording of clicks at a tempo in beats per minute.
func demoWAV(tempo int) []byte {
	samples := make([]int16, demoRate*demoSeconds)
	for i := range samples {
		beat := float64(i) * float64(tempo) / 60 / demoRate
		since := (beat - math.Floor(beat)) * 60 / float64(tempo) // seconds after the beat
		pitch := 880.0
		if int(beat)%4 == 0 {
			pitch = 1320
		}
		samples[i] = int16(12000 * math.Exp(-30*since) * math.Sin(2*math.Pi*pitch*since))
	}
	var b bytes.Buffer
	size := uint32(2 * len(samples))
	for _, part := range []any{
		[]byte("RIFF"), 36 + size, []byte("WAVEfmt "), uint32(16),
		uint16(1), uint16(1), uint32(demoRate), uint32(2 * demoRate), uint16(2), uint16(16), // PCM, mono, 16 bits
		[]byte("data"), size, samples,
	} {
		_ = binary.Write(&b, binary.LittleEndian, part) // a Buffer has no errors
	}
	return b.Bytes()
}

// demoContent is a content in memory.
type demoContent struct {
	*bytes.Reader
	all []byte
}

func (c *demoContent) Size() int64       { return int64(len(c.all)) }
func (c *demoContent) AudioType() string { return blobs.AudioType(c.all) }
func (c *demoContent) SHA256() []byte    { sum := sha256.Sum256(c.all); return sum[:] }
