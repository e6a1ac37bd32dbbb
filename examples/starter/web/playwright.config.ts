import { defineConfig } from "@playwright/test";

const baseURL = process.env.BASE_URL ?? "http://localhost:3000";

// CHROMIUM is the path of an installed browser. Without it Playwright uses its own, which
// "npx playwright install chromium" downloads once.
export default defineConfig({
  testDir: "tests",
  forbidOnly: !!process.env.CI,
  use: { baseURL, launchOptions: { executablePath: process.env.CHROMIUM } },
  webServer: { command: "make -C .. dev", url: baseURL + "/readyz", timeout: 300_000, reuseExistingServer: !process.env.CI },
});
