package audioarchive

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"gocloud.dev/blob"

	"github.com/gatehouse-dev/gatehouse"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/catalog"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/files"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/orders"
	"github.com/gatehouse-dev/gatehouse/internal/audioarchive/productdb"
)

// A shop is what the services have in common. The first one that is opened opens it, and the last
// one that is closed closes it.
type shop struct {
	mu     sync.Mutex
	users  int
	db     *productdb.DB
	bucket *blob.Bucket
	files  *files.Service
}

// Each service is what it is in its package, and a user of the shop. The process closes it, and not
// the files.
type (
	productService struct {
		*catalog.Products
		user
	}
	fileService struct {
		*files.Service
		user
	}
	orderService struct {
		*orders.Service
		user
	}
)

type user struct{ shop *shop }

func (s *shop) openProducts(ctx context.Context, env gatehouse.Environment) (productService, error) {
	if err := s.open(ctx, env); err != nil {
		return productService{}, err
	}
	return productService{catalog.NewProducts(catalog.ProductsConfig{DB: s.db}), user{s}}, nil
}

func (s *shop) openFiles(ctx context.Context, env gatehouse.Environment) (fileService, error) {
	if err := s.open(ctx, env); err != nil {
		return fileService{}, err
	}
	return fileService{s.files, user{s}}, nil
}

func (s *shop) openOrders(ctx context.Context, env gatehouse.Environment) (orderService, error) {
	if err := s.open(ctx, env); err != nil {
		return orderService{}, err
	}
	return orderService{orders.New(s.db), user{s}}, nil
}

// Close implements io.Closer.
func (u user) Close() error { return u.shop.close() }

// Close ends the use of the shop, which closes the service.
func (s fileService) Close() error { return s.shop.close() }

func (s *shop) open(ctx context.Context, env gatehouse.Environment) (err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 0 {
		s.users++
		return nil
	}
	db, err := productdb.Open(ctx, productdb.Config{URL: env.DatabaseURL, Logger: env.Logger})
	if err != nil {
		return env.DatabaseError(err)
	}
	bucket, err := files.Open(ctx, env.FilesURL)
	if err != nil {
		return errors.Join(env.FilesError(err), db.Close())
	}
	s.db, s.bucket = db, bucket
	s.files = files.New(files.Config{DB: db, Bucket: bucket, MaxBytes: env.MaxFileBytes, Logger: env.Logger})
	s.users = 1
	if env.Development && env.DatabaseURL == "memory:" {
		if err := s.addDemo(ctx, catalog.SellerID(env.Issuer, devSeller)); err != nil {
			return errors.Join(fmt.Errorf("demo products: %w", err), s.shut())
		}
	}
	return nil
}

// demoWithoutFile is the demo product for which a seller can upload a file.
const demoWithoutFile = "Cinematic Strings Template"

func (s *shop) addDemo(ctx context.Context, seller string) error {
	return catalog.AddDemo(ctx, s.db, seller, func(p productdb.Product) error {
		if p.Title == demoWithoutFile {
			return nil
		}
		return s.files.AddDemo(ctx, p)
	})
}

func (s *shop) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users > 1 {
		s.users--
		return nil
	}
	return s.shut()
}

func (s *shop) shut() error {
	s.users = 0
	return errors.Join(s.files.Close(), s.bucket.Close(), s.db.Close())
}
