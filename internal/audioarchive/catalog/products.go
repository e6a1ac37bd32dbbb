package catalog

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"go.einride.tech/aip/fieldmask"
	"go.einride.tech/aip/resourceid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/server/authn"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

const (
	defaultMaxWatchers = 1000
	// defaultMaxWatchersEach keeps one caller from using all streams.
	defaultMaxWatchersEach = 20
	// attempts is how often an update without an etag is tried while others change the same
	// product.
	attempts = 10
)

// ProductsConfig configures the product service. DB is required.
type ProductsConfig struct {
	// DB is the database. The caller closes it.
	DB *productdb.DB
	// MaxWatchers limits the streams of WatchProducts, MaxWatchersEach those of one caller; 0 means
	// 1000 and 20.
	MaxWatchers, MaxWatchersEach int
}

// Products implements audioarchive.v1.ProductService. It is safe for
// concurrent use.
type Products struct {
	audioarchivev1.UnimplementedProductServiceServer
	db       *productdb.DB
	tokens   Tokens
	watchers chan struct{} // one element for each stream
	mu       sync.Mutex
	watching map[string]int // streams by caller
	each     int            // limit for one caller
	stopping context.Context
	drain    context.CancelFunc
}

// NewProducts returns the product service.
func NewProducts(cfg ProductsConfig) *Products {
	s := &Products{
		db:       cfg.DB,
		tokens:   Tokens{Key: cfg.DB.TokenKey()},
		watchers: make(chan struct{}, cmp.Or(cfg.MaxWatchers, defaultMaxWatchers)),
		watching: map[string]int{},
		each:     cmp.Or(cfg.MaxWatchersEach, defaultMaxWatchersEach),
	}
	s.stopping, s.drain = context.WithCancel(context.Background())
	return s
}

// Ready returns an error if the database does not answer.
func (s *Products) Ready(ctx context.Context) error {
	if err := s.db.Ping(ctx); err != nil {
		return fmt.Errorf("catalog: the database does not answer: %w", err)
	}
	return nil
}

// Drain ends the streams of WatchProducts with a status that tells clients to reconnect. They would
// delay the end of the server.
func (s *Products) Drain() { s.drain() }

// GetProduct implements audioarchive.v1.ProductService.
func (s *Products) GetProduct(ctx context.Context, req *audioarchivev1.GetProductRequest) (*audioarchivev1.Product, error) {
	id, err := ProductID("name", req.GetName())
	if err != nil {
		return nil, err
	}
	p, err := s.db.Get(ctx, id)
	if err != nil {
		return nil, Failed(ctx, err)
	}
	return Message(p), nil
}

// CreateProduct implements audioarchive.v1.ProductService.
func (s *Products) CreateProduct(ctx context.Context, req *audioarchivev1.CreateProductRequest) (*audioarchivev1.Product, error) {
	seller, err := CallerID(ctx)
	if err != nil {
		return nil, err
	}
	if err := sortable(req.GetProduct()); err != nil {
		return nil, err
	}
	p := productdb.Product{ID: resourceid.NewSystemGeneratedBase32(), Seller: seller}
	assign(&p, req.GetProduct())
	var request *productdb.Request
	if req.GetRequestId() != "" {
		content, err := proto.MarshalOptions{Deterministic: true}.Marshal(written(req.GetProduct()))
		if err != nil {
			return nil, err
		}
		digest := sha256.Sum256(content)
		request = &productdb.Request{ID: strings.ToLower(req.GetRequestId()), Digest: digest[:]}
	}
	created, err := s.db.Create(ctx, p, request)
	if err != nil {
		return nil, Failed(ctx, err)
	}
	return Message(created), nil
}

// maxTitleKey limits the tokens of a list that is sorted by title, and the keys of PostgreSQL's
// index.
const maxTitleKey = 450

// sortable refuses a short title with a long sort key: a single character can stand for a phrase
// (U+FDFA).
func sortable(p *audioarchivev1.Product) error {
	if size := productdb.TitleKeySize(p.GetTitle()); size > maxTitleKey {
		return validate.Field("product.title", "its characters take %d bytes written out, and %d are the most; use plainer ones", size, maxTitleKey)
	}
	return nil
}

// UpdateProduct implements audioarchive.v1.ProductService.
func (s *Products) UpdateProduct(ctx context.Context, req *audioarchivev1.UpdateProductRequest) (*audioarchivev1.Product, error) {
	id, err := ProductID("product.name", req.GetProduct().GetName())
	if err != nil {
		return nil, err
	}
	seller, err := CallerID(ctx)
	if err != nil {
		return nil, err
	}
	mask, err := writableMask(req)
	if err != nil {
		return nil, err
	}
	edit := func(p *productdb.Product) error {
		if err := Writable(*p, seller, req.GetEtag(), req.GetProduct().GetEtag()); err != nil {
			return err
		}
		merged := Message(*p)
		if mask != nil {
			fieldmask.Update(mask, merged, written(req.GetProduct()))
		}
		if err := validate.Message(merged, "product"); err != nil {
			return err
		}
		if err := sortable(merged); err != nil {
			return err
		}
		assign(p, merged)
		return nil
	}
	// edit reads the product again, and refuses if an etag no longer fits.
	updated, err := Retry(func() (productdb.Product, error) { return s.db.Update(ctx, id, edit) })
	if err != nil {
		return nil, Failed(ctx, err)
	}
	return Message(updated), nil
}

// Retry repeats a change of a product while others change it at the same time.
func Retry[T any](change func() (T, error)) (result T, err error) {
	for range attempts {
		if result, err = change(); !errors.Is(err, productdb.ErrChanged) {
			break
		}
	}
	return result, err
}

// DeleteProduct implements audioarchive.v1.ProductService.
func (s *Products) DeleteProduct(ctx context.Context, req *audioarchivev1.DeleteProductRequest) (*emptypb.Empty, error) {
	id, err := ProductID("name", req.GetName())
	if err != nil {
		return nil, err
	}
	seller, err := CallerID(ctx)
	if err != nil {
		return nil, err
	}
	_, err = Retry(func() (struct{}, error) {
		return struct{}{}, s.db.Delete(ctx, id, func(p productdb.Product) error { return Writable(p, seller, req.GetEtag()) })
	})
	if err != nil {
		return nil, Failed(ctx, err)
	}
	return &emptypb.Empty{}, nil
}

// Writable checks that the caller may change the product and that the etag fits. A caller who may
// not change it does not learn whether the etag fits.
func Writable(p productdb.Product, seller string, etags ...string) error {
	if p.Seller != seller {
		return Refuse(codes.PermissionDenied, ReasonNotSeller, "only its seller may change a product")
	}
	for _, tag := range etags {
		if tag != "" && tag != "*" && tag != etag(p) { // "*" as in If-Match: any state
			return Refuse(codes.Aborted, ReasonETagMismatch, "the product was changed since you read it; read it again and repeat the change")
		}
	}
	return nil
}

// writable are the fields that a caller may set.
var writable = []string{"title", "description", "price", "daw", "tempo_bpm"}

// written returns p with the writable fields alone.
func written(p *audioarchivev1.Product) *audioarchivev1.Product {
	return &audioarchivev1.Product{
		Title: p.GetTitle(), Description: p.GetDescription(), Price: proto.CloneOf(p.GetPrice()), Daw: p.GetDaw(), TempoBpm: p.GetTempoBpm(),
	}
}

// writableMask returns the update mask without the fields that only the server sets, which are
// ignored (AIP-203); nil if nothing of a given mask is left.
func writableMask(req *audioarchivev1.UpdateProductRequest) (*fieldmaskpb.FieldMask, error) {
	paths := req.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return &fieldmaskpb.FieldMask{}, nil
	}
	if err := fieldmask.Validate(req.GetUpdateMask(), req.GetProduct()); err != nil {
		return nil, validate.Field("update_mask", "%v; a product's fields are %s", err, strings.Join(writable, ", "))
	}
	if fieldmask.IsFullReplacement(req.GetUpdateMask()) {
		return &fieldmaskpb.FieldMask{Paths: writable}, nil
	}
	var kept []string
	for _, path := range paths {
		field, _, _ := strings.Cut(path, ".")
		if slices.Contains(writable, field) {
			kept = append(kept, path)
		}
	}
	if kept == nil {
		return nil, nil
	}
	return &fieldmaskpb.FieldMask{Paths: kept}, nil
}

// assign copies the writable fields.
func assign(p *productdb.Product, m *audioarchivev1.Product) {
	p.Title, p.Description = m.GetTitle(), m.GetDescription()
	p.Currency, p.Amount = m.GetPrice().GetCurrencyCode(), m.GetPrice().GetAmountMinor()
	p.DAW, p.Tempo = int32(m.GetDaw()), m.GetTempoBpm()
}

// Message returns a product as the API has it.
func Message(p productdb.Product) *audioarchivev1.Product {
	return &audioarchivev1.Product{
		Name:        "products/" + p.ID,
		Title:       p.Title,
		Description: p.Description,
		Price:       &audioarchivev1.Price{CurrencyCode: p.Currency, AmountMinor: p.Amount},
		Daw:         audioarchivev1.Daw(p.DAW),
		TempoBpm:    p.Tempo,
		Seller:      "sellers/" + p.Seller,
		CreateTime:  timestamppb.New(p.Created),
		UpdateTime:  timestamppb.New(p.Updated),
		Etag:        etag(p),
		File:        FileMessage(p.File),
	}
}

// FileMessage returns a file as the API has it, nil for none.
func FileMessage(f productdb.File) *audioarchivev1.ProductFile {
	if f.Key == "" {
		return nil
	}
	return &audioarchivev1.ProductFile{
		FileName: f.Name, SizeBytes: f.Size, ContentType: f.Type, Sha256: f.SHA256, UploadTime: timestamppb.New(f.Uploaded),
	}
}

// etag returns a strong entity tag (RFC 9110), quotation marks included.
func etag(p productdb.Product) string {
	sum := sha256.Sum256([]byte(p.ID + " " + strconv.FormatInt(p.Version, 10)))
	return `"` + base64.RawURLEncoding.EncodeToString(sum[:12]) + `"`
}

// ProductID parses a product's name, which is in the given field. A malformed name is reported as
// not found.
func ProductID(field, name string) (string, error) {
	id, ok := strings.CutPrefix(name, "products/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return "", validate.Field(field, `must be a product's name, such as "products/q3v7xk2m5n4a6b7c2d3e4f5g6h"`)
	}
	if !ValidID(id) {
		return "", errNotFound
	}
	return id, nil
}

// ValidID reports whether id can be that of a product, a seller or an order: 128 bits in lower-case
// base32.
func ValidID(id string) bool {
	return len(id) == 26 && strings.Trim(id, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

var lowerBase32 = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// SellerID returns the seller of a subject of an issuer. It is stable, and does not reveal the
// provider's identifier, which is often an e-mail address or can be resolved to one.
func SellerID(issuer, subject string) string {
	sum := sha256.Sum256([]byte(issuer + "\x00" + subject))
	return lowerBase32.EncodeToString(sum[:16])
}

// CallerID returns the id that the caller has as a seller and as a buyer.
func CallerID(ctx context.Context) (string, error) {
	principal, ok := authn.FromContext(ctx)
	if !ok {
		return "", Refuse(codes.Unauthenticated, authn.ReasonTokenMissing, "this needs a signed-in caller")
	}
	subject := principal.Subject
	if subject == "" {
		subject = "client\x00" + principal.ClientID // a program that sells for itself
	}
	return SellerID(principal.Issuer, subject), nil
}
