import type { NextConfig } from "next";

// No rewrites, no middleware and no authentication library: Gatehouse is in front, signs users in,
// and serves everything under /api.
const config: NextConfig = {
  poweredByHeader: false,
};

export default config;
