package catalog

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"strings"

	"google.golang.org/grpc/codes"

	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// Tokens makes and checks page tokens and resume tokens. A token is signed, so that clients cannot
// forge one, and bound to the request that it was issued for.
type Tokens struct{ Key []byte }

// macSize is in bytes. 128 bits are enough: a forged token gives access to public products only.
const macSize = 16

func (t Tokens) seal(content []byte, purpose ...string) string {
	return base64.RawURLEncoding.EncodeToString(append(t.mac(content, purpose), content...))
}

func (t Tokens) open(token string, purpose ...string) ([]byte, bool) {
	raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil || len(raw) < macSize {
		return nil, false
	}
	content := raw[macSize:]
	return content, hmac.Equal(raw[:macSize], t.mac(content, purpose))
}

func (t Tokens) mac(content []byte, purpose []string) []byte {
	h := hmac.New(sha256.New, t.Key)
	for _, part := range append([]string{string(content)}, purpose...) {
		// With its length, so that different lists of parts have different encodings.
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		h.Write(length[:])
		h.Write([]byte(part))
	}
	return h.Sum(nil)[:macSize]
}

// pagePosition is the content of a page token.
type pagePosition struct {
	Text   []byte `json:",omitempty"` // not a string: a key need not be UTF-8
	Number int64  `json:",omitempty"`
	ID     string
}

// Page signs the position where a list with this filter and order continues.
func (t Tokens) Page(at productdb.Position, list ...string) (string, error) {
	content, err := json.Marshal(pagePosition{[]byte(at.Text), at.Number, at.ID})
	return t.seal(content, append([]string{"page"}, list...)...), err
}

func (t Tokens) OpenPage(token string, list ...string) (*productdb.Position, error) {
	if token == "" {
		return nil, nil
	}
	content, ok := t.open(token, append([]string{"page"}, list...)...)
	var at pagePosition
	if !ok || json.Unmarshal(content, &at) != nil {
		return nil, validate.Field("page_token", "is none of this list; repeat the other fields of the request that it came from, or begin without it")
	}
	return &productdb.Position{Text: string(at.Text), Number: at.Number, ID: at.ID}, nil
}

// resume signs the position where a watch continues.
func (t Tokens) resume(sequence int64) string {
	return t.seal(binary.AppendUvarint(nil, uint64(sequence)), "watch")
}

func (t Tokens) openResume(token string) (int64, error) {
	content, ok := t.open(token, "watch")
	sequence, n := binary.Uvarint(content)
	switch {
	case ok && n == len(content):
		return int64(sequence), nil
	case strings.TrimSpace(token) == "":
		return 0, validate.Field("resume_token", "is blank")
	}
	// The token is forged, or of another database, such as that of an earlier development server.
	// The remedy is the same.
	return 0, Refuse(codes.OutOfRange, ReasonResumeTokenExpired, resumeExpired)
}

const resumeExpired = "the resume_token is too old, or of another database; list the products anew, and watch without a token"
