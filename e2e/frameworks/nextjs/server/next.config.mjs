import path from "node:path";

// Both applications share the packages of the parent directory.
export default { turbopack: { root: path.resolve(import.meta.dirname, "..") } };
