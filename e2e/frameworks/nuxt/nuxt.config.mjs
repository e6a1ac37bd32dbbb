export default defineNuxtConfig({
  compatibilityDate: "2026-01-01",
  modules: ["@nuxt/image"],
  telemetry: false,
});
