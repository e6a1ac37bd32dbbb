import type { NextConfig } from "next";

// No rewrites, no middleware, no authentication library: Gatehouse stands in
// front, signs people in, and answers everything under /api.
const config: NextConfig = {
  poweredByHeader: false,
};

export default config;
