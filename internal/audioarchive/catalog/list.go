package catalog

import (
	"cmp"
	"context"

	audioarchivev1 "github.com/gatehouse-dev/gatehouse/gen/audioarchive/v1"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

const (
	defaultPageSize = 25
	maxPageSize     = 100
)

// ListProducts implements audioarchive.v1.ProductService.
func (s *Products) ListProducts(ctx context.Context, req *audioarchivev1.ListProductsRequest) (*audioarchivev1.ListProductsResponse, error) {
	products, next, err := s.list(ctx, req, "")
	if err != nil {
		return nil, err
	}
	return &audioarchivev1.ListProductsResponse{Products: products, NextPageToken: next}, nil
}

// ListMyProducts implements audioarchive.v1.ProductService.
func (s *Products) ListMyProducts(ctx context.Context, req *audioarchivev1.ListMyProductsRequest) (*audioarchivev1.ListMyProductsResponse, error) {
	seller, err := CallerID(ctx)
	if err != nil {
		return nil, err
	}
	products, next, err := s.list(ctx, req, seller)
	if err != nil {
		return nil, err
	}
	return &audioarchivev1.ListMyProductsResponse{Products: products, NextPageToken: next}, nil
}

// listRequest is the common part of both requests.
type listRequest interface {
	GetPageSize() int32
	GetPageToken() string
	GetFilter() string
	GetOrderBy() string
}

// list returns a page of the products of one seller, or of all sellers for "". A page begins after
// the position of the last product of the page before, so that products that are created or deleted
// meanwhile cause neither repetitions nor gaps.
func (s *Products) list(ctx context.Context, req listRequest, seller string) ([]*audioarchivev1.Product, string, error) {
	order, descending, err := parseOrder(req.GetOrderBy())
	if err != nil {
		return nil, "", err
	}
	where, err := parseFilter(req.GetFilter())
	if err != nil {
		return nil, "", err
	}
	if seller != "" {
		where = append(where, productdb.Compare{Field: productdb.BySeller, Operator: "=", Value: seller})
	}
	purpose := []string{seller, req.GetFilter(), req.GetOrderBy()}
	after, err := s.tokens.OpenPage(req.GetPageToken(), purpose...)
	if err != nil {
		return nil, "", err
	}
	size := min(cmp.Or(int(req.GetPageSize()), defaultPageSize), maxPageSize)
	found, err := s.db.List(ctx, productdb.Query{Where: where, Order: order, Descending: descending, After: after, Limit: size})
	if err != nil {
		return nil, "", Failed(ctx, err)
	}
	next := ""
	if found.Next != nil {
		if next, err = s.tokens.Page(*found.Next, purpose...); err != nil {
			return nil, "", err
		}
	}
	products := make([]*audioarchivev1.Product, len(found.Products))
	for i, p := range found.Products {
		products[i] = Message(p)
	}
	return products, next, nil
}
