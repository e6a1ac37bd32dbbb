import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// The page is opened through Gatehouse, which forwards to this server.
export default defineConfig({
  plugins: [react()],
  server: { host: "127.0.0.1", port: Number(process.env.WEB_PORT ?? 5173), strictPort: true },
  logLevel: "warn",
});
