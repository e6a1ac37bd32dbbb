package web

import "io/fs"

// AssetHash is the directory name that the files under assets/ of fsys get.
func AssetHash(fsys fs.FS) (string, error) {
	a, err := loadAssets(fsys)
	if err != nil {
		return "", err
	}
	return a.hash, nil
}
