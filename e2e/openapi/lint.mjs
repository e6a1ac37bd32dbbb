// Usage: node lint.mjs FILE
// Prints one line for each error in an OpenAPI document, and exits with 1 if
// there is one.
import { readFileSync } from "node:fs";
import { createConfig, lint } from "@redocly/openapi-core";
import { Validator } from "@seriousme/openapi-schema-validator";

const file = process.argv[2];
const problems = [];

const validator = new Validator();
const { valid, errors } = await validator.validate(JSON.parse(readFileSync(file, "utf8")));
if (!valid) problems.push(`invalid: ${JSON.stringify(errors)}`);

const config = await createConfig({
  extends: ["recommended-strict"],
  rules: {
    // The licence of an API is its operator's decision.
    "info-license": "off",
    // Examples are written by hand and may be wrong.
    "no-invalid-schema-examples": "error",
    "no-invalid-parameter-examples": "error",
  },
});
for (const p of await lint({ ref: file, config })) {
  problems.push(`${p.ruleId}: ${p.message} (${p.location.map((l) => l.pointer).join(", ")})`);
}

console.log(`OpenAPI ${validator.version}: ${problems.length} problems`);
problems.forEach((p) => console.log(p));
process.exitCode = problems.length > 0 ? 1 : 0;
