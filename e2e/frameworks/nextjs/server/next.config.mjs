import path from "node:path";

// The packages lie one folder up, for both applications.
export default { turbopack: { root: path.resolve(import.meta.dirname, "..") } };
