package web

import "io/fs"

// AssetHash returns the name of the directory in which the assets of fsys are
// served.
func AssetHash(fsys fs.FS) (string, error) {
	a, err := loadAssets(&brand{}, fsys)
	if err != nil {
		return "", err
	}
	return a.hash, nil
}
