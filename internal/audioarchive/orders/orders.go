// Package orders owns purchases: it implements OrderService. An order is a record and no payment.
// Package files checks orders before it sends a file.
package orders

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"go.einride.tech/aip/resourceid"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
	"github.com/gatehouse-dev/gatehouse/server/validate"
)

// Reasons of errors, in google.rpc.ErrorInfo.reason.
const (
	ReasonOrderNotFound = "ORDER_NOT_FOUND"
	ReasonOwnProduct    = "OWN_PRODUCT"         // a seller cannot buy the own product
	ReasonNoFile        = "PRODUCT_HAS_NO_FILE" // there is nothing to buy yet
)

const (
	defaultPageSize = 25
	maxPageSize     = 100
)

// Service implements audioarchive.v1.OrderService. It is safe for concurrent use.
type Service struct {
	audioarchivev1.UnimplementedOrderServiceServer
	db     *productdb.DB
	tokens catalog.Tokens
}

// New returns the service. The caller closes the database.
func New(db *productdb.DB) *Service {
	return &Service{db: db, tokens: catalog.Tokens{Key: db.TokenKey()}}
}

// CreateOrder implements audioarchive.v1.OrderService.
func (s *Service) CreateOrder(ctx context.Context, req *audioarchivev1.CreateOrderRequest) (*audioarchivev1.Order, error) {
	product, err := catalog.ProductID("order.product", req.GetOrder().GetProduct())
	if err != nil {
		return nil, err
	}
	buyer, err := catalog.CallerID(ctx)
	if err != nil {
		return nil, err
	}
	check := func(p productdb.Product) error {
		switch tag := req.GetProductEtag(); {
		case p.Seller == buyer:
			return catalog.Refuse(codes.FailedPrecondition, ReasonOwnProduct, "this is your own product, whose file you can download anyway")
		case p.File.Key == "":
			return catalog.Refuse(codes.FailedPrecondition, ReasonNoFile, "the product has no file yet; come back when its seller has uploaded one")
		case tag != "" && tag != catalog.Message(p).GetEtag():
			return catalog.Refuse(codes.Aborted, catalog.ReasonETagMismatch, "the product was changed since you read it; read it again before you buy it")
		}
		return nil
	}
	id := resourceid.NewSystemGeneratedBase32()
	o, err := catalog.Retry(func() (productdb.Order, error) { return s.db.CreateOrder(ctx, id, buyer, product, check) })
	if err != nil {
		return nil, catalog.Failed(ctx, err)
	}
	return message(o), nil
}

// GetOrder implements audioarchive.v1.OrderService.
func (s *Service) GetOrder(ctx context.Context, req *audioarchivev1.GetOrderRequest) (*audioarchivev1.Order, error) {
	buyer, err := catalog.CallerID(ctx)
	if err != nil {
		return nil, err
	}
	id, ok := strings.CutPrefix(req.GetName(), "orders/")
	if !ok || id == "" || strings.Contains(id, "/") {
		return nil, validate.Field("name", `must be an order's name, such as "orders/b5n6a7c2d3e4f5g6h7q2v3x4k5"`)
	}
	err = productdb.ErrNoOrder
	var o productdb.Order
	if catalog.ValidID(id) {
		o, err = s.db.GetOrder(ctx, buyer, id)
	}
	if errors.Is(err, productdb.ErrNoOrder) { // also that of another buyer
		return nil, catalog.Refuse(codes.NotFound, ReasonOrderNotFound, "you have no such order")
	}
	if err != nil {
		return nil, catalog.Failed(ctx, err)
	}
	return message(o), nil
}

// ListMyOrders implements audioarchive.v1.OrderService.
func (s *Service) ListMyOrders(ctx context.Context, req *audioarchivev1.ListMyOrdersRequest) (*audioarchivev1.ListMyOrdersResponse, error) {
	buyer, err := catalog.CallerID(ctx)
	if err != nil {
		return nil, err
	}
	product := ""
	if req.GetProduct() != "" {
		if product, err = catalog.ProductID("product", req.GetProduct()); err != nil {
			return nil, err
		}
	}
	purpose := []string{"orders", buyer, product}
	after, err := s.tokens.OpenPage(req.GetPageToken(), purpose...)
	if err != nil {
		return nil, err
	}
	size := min(cmp.Or(int(req.GetPageSize()), defaultPageSize), maxPageSize)
	found, more, err := s.db.Orders(ctx, buyer, product, after, size)
	if err != nil {
		return nil, catalog.Failed(ctx, err)
	}
	answer := &audioarchivev1.ListMyOrdersResponse{}
	for _, o := range found {
		answer.Orders = append(answer.Orders, message(o))
	}
	if more {
		last := found[len(found)-1]
		answer.NextPageToken, err = s.tokens.Page(productdb.Position{Number: last.Created.UnixMicro(), ID: last.ID}, purpose...)
	}
	return answer, err
}

func message(o productdb.Order) *audioarchivev1.Order {
	return &audioarchivev1.Order{
		Name:           "orders/" + o.ID,
		Product:        "products/" + o.Product,
		ProductTitle:   o.Title,
		Seller:         "sellers/" + o.Seller,
		Price:          &audioarchivev1.Price{CurrencyCode: o.Currency, AmountMinor: o.Amount},
		CreateTime:     timestamppb.New(o.Created),
		File:           catalog.FileMessage(o.File),
		ProductDeleted: o.Deleted,
	}
}
