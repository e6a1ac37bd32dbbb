package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/gatehouse-dev/gatehouse/internal/seal"
)

func secret() string { return rand.Text() + rand.Text() }

func keyring(t testing.TB, secrets ...string) *seal.Keyring {
	t.Helper()
	k, err := seal.NewKeyring(secrets...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sealed(t testing.TB, k *seal.Keyring, purpose string, salt, plaintext []byte) []byte {
	t.Helper()
	b, err := k.Seal(purpose, salt, plaintext)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	k := keyring(t, secret())
	for _, plaintext := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789"), 10_000)} {
		for _, salt := range [][]byte{nil, []byte("salt"), make([]byte, 64)} {
			b := sealed(t, k, "purpose", salt, plaintext)
			if len(b) != len(plaintext)+seal.Overhead {
				t.Errorf("%d bytes became %d, want %d more", len(plaintext), len(b), seal.Overhead)
			}
			got, err := k.Open("purpose", salt, b)
			if err != nil || !bytes.Equal(got, plaintext) {
				t.Errorf("Open of %d bytes = %d bytes, %v", len(plaintext), len(got), err)
			}
		}
	}
}

func TestSameTextSealsDifferently(t *testing.T) {
	t.Parallel()
	k := keyring(t, secret())
	a, b := sealed(t, k, "p", nil, []byte("text")), sealed(t, k, "p", nil, []byte("text"))
	if bytes.Equal(a, b) || bytes.Equal(a[seal.Overhead-16:], b[seal.Overhead-16:]) {
		t.Error("the same text gave the same ciphertext twice")
	}
}

// A value sealed for one purpose or salt does not open for another.
func TestOpensForItsPurposeAndSaltAlone(t *testing.T) {
	t.Parallel()
	k := keyring(t, secret())
	b := sealed(t, k, "session", []byte("salt"), []byte("text"))
	for _, other := range []struct {
		purpose string
		salt    []byte
	}{
		{"login", []byte("salt")},
		{"", []byte("salt")},
		{"session", nil},
		{"session", []byte("Salt")},
		{"session", []byte("salt\x00")},
		// The same bytes, split differently.
		{"sessions", []byte("alt")},
		{"sessionsalt", nil},
		{"", []byte("sessionsalt")},
	} {
		if _, err := k.Open(other.purpose, other.salt, b); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("opened for purpose %q and salt %q: %v", other.purpose, other.salt, err)
		}
	}
}

func TestNoBitCanBeChanged(t *testing.T) {
	t.Parallel()
	k := keyring(t, secret())
	b := sealed(t, k, "p", nil, []byte("text"))
	for i := range len(b) * 8 {
		altered := bytes.Clone(b)
		altered[i/8] ^= 1 << (i % 8)
		if _, err := k.Open("p", nil, altered); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("bit %d changed: %v, want ErrOpen", i, err)
		}
	}
	for n := range b {
		if _, err := k.Open("p", nil, b[:n]); !errors.Is(err, seal.ErrOpen) {
			t.Errorf("cut to %d bytes: %v, want ErrOpen", n, err)
		}
	}
	if _, err := k.Open("p", nil, append(bytes.Clone(b), 0)); !errors.Is(err, seal.ErrOpen) {
		t.Errorf("a byte more: %v, want ErrOpen", err)
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	older, old, fresh := secret(), secret(), secret()
	before := keyring(t, old, older)
	after := keyring(t, fresh, old)
	underOld := sealed(t, before, "p", nil, []byte("text"))
	underFresh := sealed(t, after, "p", nil, []byte("text"))
	underOlder := sealed(t, keyring(t, older), "p", nil, []byte("text"))

	for _, c := range []struct {
		name  string
		k     *seal.Keyring
		value []byte
		opens bool
	}{
		{"the old value, new secret in front", after, underOld, true},
		{"the new value", after, underFresh, true},
		{"the new value, before the rotation", before, underFresh, false},
		{"the new value, old secret gone", keyring(t, fresh), underFresh, true},
		{"the old value, old secret gone", keyring(t, fresh), underOld, false},
		{"an older value under the last of two", before, underOlder, true},
		{"an older value, its secret gone", after, underOlder, false},
		{"the same secrets in another order", keyring(t, older, old), underOld, true},
	} {
		got, err := c.k.Open("p", nil, c.value)
		if c.opens && (err != nil || string(got) != "text") {
			t.Errorf("%s: %q, %v, want it to open", c.name, got, err)
		}
		if !c.opens && !errors.Is(err, seal.ErrOpen) {
			t.Errorf("%s: %q, %v, want ErrOpen", c.name, got, err)
		}
	}
}

func TestNewKeyringRefuses(t *testing.T) {
	t.Parallel()
	good := secret()
	for _, c := range []struct {
		name    string
		secrets []string
		says    string
	}{
		{"none", nil, "is missing"},
		{"empty", []string{""}, "has 0 characters"},
		{"short", []string{"kJ8#mQ2$vX5&zB7*nL4!wR9@tY6^pD"}, "has 30 characters and needs at least 32"},
		{"short in characters, long in bytes", []string{"żółćęśąźńŻÓŁĆĘŚĄŹŃ"}, "has 18 characters"},
		{"a short second one", []string{good, "kJ8#mQ2"}, "Secrets[1] has 7 characters"},
		{"one character again and again", []string{strings.Repeat("x", 64)}, "too few different characters: 1"},
		{"few characters again and again", []string{strings.Repeat("abc123", 8)}, "too few different characters: 6"},
		{"the tutorial's .env", []string{"use [openssl rand -hex 32] to generate a 32 bytes value"}, "placeholder"},
		{"change me", []string{"CHANGE-ME-to-something-longer-than-that"}, "placeholder"},
		{"digits in order", []string{"0123456789abcdef0123456789abcdef"}, "placeholder"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			_, err := seal.NewKeyring(c.secrets...)
			if err == nil {
				t.Fatal("no error")
			}
			for _, part := range []string{"Secrets", c.says, "openssl rand -hex 32"} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("%q does not say %q", err, part)
				}
			}
			for _, s := range c.secrets {
				if len(s) > 5 && (strings.Contains(err.Error(), s[:5]) && !strings.HasPrefix(s, "use [")) {
					t.Errorf("%q shows the secret", err)
				}
			}
		})
	}
}

func TestNewKeyringAccepts(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"0d6a8e5c1f7b42993ab0c4e1d85f6237",             // openssl rand -hex 16
		"wq3u8QmB0yW1pJt7rXc9LzK5dVn2sHf4gTeAiOx6uYk=", // openssl rand -base64 32
		"correct horse battery staple, and then some",
	} {
		if _, err := seal.NewKeyring(s); err != nil {
			t.Errorf("a secret of %d characters: %v", len(s), err)
		}
	}
}

func TestKeyringIsNotPrinted(t *testing.T) {
	t.Parallel()
	k := keyring(t, secret(), secret())
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "k", k)
	for _, got := range []string{fmt.Sprintf("%v", k), fmt.Sprintf("%+v", k), fmt.Sprintf("%#v", k), fmt.Sprintf("%x", k)} {
		if got != "seal.Keyring(2 secrets)" {
			t.Errorf("printed as %q", got)
		}
	}
	if !strings.Contains(log.String(), `k="seal.Keyring(2 secrets)"`) {
		t.Errorf("logged as %q", log.String())
	}
}

func FuzzOpen(f *testing.F) {
	k := keyring(f, secret(), secret())
	whole := sealed(f, k, "p", nil, []byte("text"))
	f.Add([]byte(nil))
	f.Add(whole)
	f.Add(whole[:seal.Overhead])
	f.Add(whole[:seal.Overhead-1])
	f.Add(bytes.Repeat([]byte{1}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := k.Open("p", nil, b)
		if bytes.Equal(b, whole) {
			return
		}
		if got != nil || !errors.Is(err, seal.ErrOpen) {
			t.Fatalf("Open of what was never sealed = %q, %v", got, err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	salt := make([]byte, 64)
	text := bytes.Repeat([]byte("x"), 3<<10)
	for _, secrets := range []int{1, 4} {
		b.Run(fmt.Sprintf("secrets=%d", secrets), func(b *testing.B) {
			var all []string
			for range secrets {
				all = append(all, secret())
			}
			value := sealed(b, keyring(b, all[secrets-1]), "p", salt, text)
			k := keyring(b, all...)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := k.Open("p", salt, value); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
