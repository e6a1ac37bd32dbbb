// How the bindings render on a server. e2e tests them in a browser.

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { test } from "node:test";
import { ada } from "./page.js";

const root = resolve(import.meta.dirname, "..");

/** Installs the package beside a version of React in a directory of its own. */
async function installed(t, suffix) {
  const dir = await mkdtemp(join(tmpdir(), "gatehouse-react-"));
  t.after(() => rm(dir, { recursive: true }));
  // Copies, because Node resolves what a module imports from the place that a link leads to.
  const copy = (from, to) => cp(join(root, from), join(dir, "node_modules", to), { recursive: true });
  for (const name of ["package.json", "dist"]) await copy(name, `gatehouse-browser/${name}`);
  for (const name of ["react", "react-dom"]) await copy(`node_modules/${name}${suffix}`, name);
  await writeFile(join(dir, "all.js"), `
    export * from "gatehouse-browser";
    export * from "gatehouse-browser/react";
    export { createElement, version } from "react";
    export { renderToString } from "react-dom/server";`);
  await writeFile(join(dir, "package.json"), `{"type": "module"}`);
  return import(join(dir, "all.js"));
}

for (const suffix of ["", "-18"]) {
  test(`React${suffix} on a server`, async (t) => {
    const { createElement: h, renderToString, session, SessionProvider, UserProvider, useSession, useTimeLeft, useUser, RequireSession, version } =
      await installed(t, suffix);
    if (suffix) assert.equal(version.split(".")[0], suffix.slice(1));
    const View = () => JSON.stringify([useUser(), useSession().status, useTimeLeft() ?? null]);
    const show = (...args) => renderToString(h(...args)).replaceAll("&quot;", '"');

    assert.equal(show(View), '[{"isLoading":true},"loading",null]');
    assert.equal(show(SessionProvider, { user: ada }, h(View)), `[{"user":${JSON.stringify(ada)},"isLoading":false},"signed-in",null]`);
    assert.equal(show(UserProvider, { user: null }, h(View)), '[{"isLoading":false},"signed-out",null]');
    assert.equal(show(UserProvider, { user: undefined }, h(View)), '[{"isLoading":true},"loading",null]');

    const guard = h(RequireSession, { loading: "Wait" }, ({ name }) => `Hello ${name}`);
    assert.equal(show(SessionProvider, null, guard), "Wait");
    assert.equal(show(SessionProvider, { user: ada }, guard), "Hello Ada");
    assert.match(show(SessionProvider, { user: null }, guard), /^<p><button type="button">Sign in<\/button><\/p>$/);
    assert.equal(show(SessionProvider, { user: null }, h(RequireSession, { signedOut: null }, "in")), "");
    assert.deepEqual(session.getSnapshot(), { status: "loading" }, "the session of all requests has changed");
  });
}

test("the bindings are for the client, and the others for both", async () => {
  for (const name of ["react", "index", "connect"]) {
    const text = await readFile(join(root, "dist", `${name}.js`), "utf8");
    assert.equal(text.startsWith('"use client";'), name === "react", name);
  }
});
