package authn_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	_ "google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/durationpb"

	authv1 "github.com/gatehouse-dev/gatehouse/gen/gatehouse/auth/v1"
	"github.com/gatehouse-dev/gatehouse/oidc"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/authn/denylist"
)

// newTransfers returns a table for methods with and without bytes in their streams.
func newTransfers(t *testing.T) *authn.Table {
	t.Helper()
	file := new(descriptorpb.FileDescriptorProto)
	if err := prototext.Unmarshal([]byte(`
name: "authntest/transfers.proto" package: "authntest.transfers" syntax: "proto3"
dependency: "google/api/httpbody.proto"
message_type { name: "Empty" }
message_type { name: "Part" field { name: "file" number: 1 type: TYPE_MESSAGE type_name: ".google.api.HttpBody" label: LABEL_OPTIONAL } }
service { name: "Service"
  method { name: "Download" input_type: ".authntest.transfers.Empty" output_type: ".google.api.HttpBody" server_streaming: true }
  method { name: "Upload" input_type: ".authntest.transfers.Part" output_type: ".authntest.transfers.Empty" client_streaming: true }
  method { name: "UploadWhole" input_type: ".google.api.HttpBody" output_type: ".authntest.transfers.Empty" client_streaming: true }
  method { name: "Events" input_type: ".google.api.HttpBody" output_type: ".authntest.transfers.Part" server_streaming: true }
}`), file); err != nil {
		t.Fatal(err)
	}
	info := grpc.ServiceInfo{}
	for _, method := range file.Service[0].Method {
		method.Options = &descriptorpb.MethodOptions{}
		proto.SetExtension(method.Options, authv1.E_Policy, &authv1.Policy{MaxAge: durationpb.New(time.Minute)})
		info.Methods = append(info.Methods, grpc.MethodInfo{Name: method.GetName()})
	}
	publish(t, file)
	table, err := checkedTable(map[string]grpc.ServiceInfo{"authntest.transfers.Service": info}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestTransfers checks that a stream of bytes is cut off neither by the expiry of its
// token nor by max_age nor by the rotation of keys, but by a revocation, and that
// its time is limited.
func TestTransfers(t *testing.T) {
	t.Parallel()
	table := newTransfers(t)
	t.Run("denied", func(t *testing.T) { transfersDenied(t, table) })
	const life = 2 * time.Minute
	for _, c := range []struct {
		name, method string
		revoked      time.Duration // after the begin; 0 for never
		lives        time.Duration
		reason       string
		needs        []string
		rotates      bool // the issuer's keys, after the token's expiry
	}{
		{"download", "Download", 0, authn.TransferTime, authn.ReasonTokenExpired, nil, false},
		{"download while keys are rotated", "Download", 0, authn.TransferTime, authn.ReasonTokenExpired, nil, true},
		{"upload in a field", "Upload", 0, authn.TransferTime, authn.ReasonTokenExpired, nil, false},
		{"upload", "UploadWhole", 0, authn.TransferTime, authn.ReasonTokenExpired, nil, false},
		{"events with files", "Events", 0, time.Minute, authn.ReasonStepUpRequired, []string{"max_age", "60"}, false},
		{"revoked early", "Download", 30 * time.Second, 30 * time.Second, authn.ReasonTokenRevoked, nil, false},
		{"revoked after the token's expiry", "Upload", time.Hour, time.Hour, authn.ReasonTokenRevoked, nil, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t)
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
				if err != nil {
					t.Fatal(err)
				}
				if err := provider.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				verifier, err := authn.NewVerifier(authn.Config{Provider: provider, Audience: audience, Denylist: revokedFrom{c.revoked, began}})
				if err != nil {
					t.Fatal(err)
				}
				i := authn.NewInterceptor(verifier, table)
				ctx := incoming(t.Context(), "Bearer "+mint(issuer, map[string]any{"exp": began.Add(life).Unix(), "auth_time": began.Unix()}))
				s := &fakeStream{received: make(chan string)}
				err = stream(ctx, i, kinds["bidi"], "/authntest.transfers.Service/"+c.method, s, func(_ any, ss grpc.ServerStream) error {
					if c.rotates {
						time.Sleep(life + 2*time.Minute)
						issuer.Rotate()
						issuer.Retire()
						if err := provider.Refresh(ss.Context()); err != nil {
							t.Error(err)
						}
					}
					<-ss.Context().Done()
					return nil
				})
				wantRefusal(t, err, codes.Unauthenticated, c.reason, c.needs...)
				if lived := time.Since(began); lived < c.lives || lived > c.lives+2*time.Second {
					t.Errorf("the stream ended after %v, want %v", lived, c.lives)
				}
			})
		})
	}
}

// transfersDenied checks that the denylist ends a transfer whose token has expired: by its
// jti until its expiry, as a logout denies it, by its session, and by its subject.
func transfersDenied(t *testing.T, table *authn.Table) {
	for name, deny := range map[string]func(l *denylist.List, issuer string, expiry time.Time) error{
		"token": func(l *denylist.List, issuer string, expiry time.Time) error {
			return l.DenyToken(t.Context(), issuer, "T1", expiry)
		},
		"session": func(l *denylist.List, issuer string, expiry time.Time) error {
			return l.DenySession(t.Context(), issuer, "S1", expiry)
		},
		"subject": func(l *denylist.List, issuer string, expiry time.Time) error {
			return l.DenySubject(t.Context(), issuer, "ada", time.Now(), expiry)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			issuer := newIssuer(t)
			synctest.Test(t, func(t *testing.T) {
				provider, err := oidc.NewProvider(oidc.Config{Issuer: issuer.URL, HTTPClient: issuer.Client()})
				if err != nil {
					t.Fatal(err)
				}
				if err := provider.Refresh(t.Context()); err != nil {
					t.Fatal(err)
				}
				list, err := denylist.New(denylist.Config{})
				if err != nil {
					t.Fatal(err)
				}
				verifier, err := authn.NewVerifier(authn.Config{Provider: provider, Audience: audience, Denylist: list})
				if err != nil {
					t.Fatal(err)
				}
				began := time.Now()
				expiry := began.Add(5 * time.Minute)
				raw := mint(issuer, map[string]any{
					"exp": expiry.Unix(), "iat": began.Unix(), "auth_time": began.Unix(), "jti": "T1", "sid": "S1", "sub": "ada",
				})
				ctx := incoming(t.Context(), "Bearer "+raw)
				s := &fakeStream{received: make(chan string)}
				err = stream(ctx, authn.NewInterceptor(verifier, table), kinds["server stream"], "/authntest.transfers.Service/Download", s,
					func(_ any, ss grpc.ServerStream) error {
						time.Sleep(time.Hour)
						if err := deny(list, issuer.URL, expiry); err != nil {
							t.Error(err)
						}
						<-ss.Context().Done()
						return nil
					})
				wantRefusal(t, err, codes.Unauthenticated, authn.ReasonTokenRevoked)
				if late := time.Since(began) - time.Hour; late > time.Second {
					t.Errorf("the transfer ended %v after the denial", late)
				}
			})
		})
	}
}

// revokedFrom revokes every token after a time, unless it is 0.
type revokedFrom struct {
	after time.Duration
	began time.Time
}

func (r revokedFrom) Revoked(context.Context, *authn.RevocationKey) error {
	if r.after > 0 && time.Since(r.began) >= r.after {
		return authn.ErrRevoked
	}
	return nil
}
