// Package typescript owns the TypeScript that front ends use of an application: the clients that
// it generates, where they are written, and what a front end's package.json needs for them. It
// leaves the OpenAPI document to gateway/openapi, and the browser package to client/browser.
//
// The generators are npm packages. Their versions are pinned by generators/package-lock.json,
// which is part of the program. They are installed in a directory of their own, because their
// dependencies conflict with those of front ends: openapi-typescript needs TypeScript 5. To update
// them, change generators/package.json, run npm install --package-lock-only beside it, and change
// the version of @bufbuild/protobuf that pages get.
package typescript
