package app

import "context"

// OpenServices opens the services and closes them again.
func OpenServices(ctx context.Context, cfg Config) error {
	all, err := openServices(ctx, environment{cfg, false})
	if err != nil {
		return err
	}
	return all.close()
}
