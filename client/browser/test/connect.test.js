// Errors of streams, which no method of the sample has. e2e tests the rest in a browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Code, createClient } from "@connectrpc/connect";
import { create, toBinary } from "@bufbuild/protobuf";
import { ProductService } from "../../typescript/gen/audioarchive/v1/product_pb.js";
import { ErrorInfoSchema } from "../../typescript/gen/google/rpc/error_details_pb.js";
import { createTransport, loginRequired } from "../dist/connect.js";
import { createSession } from "../dist/index.js";
import { ada, empty, json, page } from "./page.js";

const watch = "/api/audioarchive.v1.ProductService/WatchProducts";
const me = "/api/auth/me";

/** The end of a stream with code unauthenticated and a google.rpc.ErrorInfo. */
function refusal(reason, metadata = {}) {
  const info = toBinary(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: "gatehouse.dev", metadata }));
  const details = [{ type: "google.rpc.Other", value: "/w" }, { type: "google.rpc.ErrorInfo", value: Buffer.from(info).toString("base64").replaceAll("=", "") }];
  const body = new TextEncoder().encode(JSON.stringify({ error: { code: "unauthenticated", message: "no", details } }));
  const frame = new Uint8Array(5 + body.length);
  frame[0] = 2;
  new DataView(frame.buffer).setUint32(1, body.length);
  frame.set(body, 5);
  return new Response(frame, { headers: { "Content-Type": "application/connect+json" } });
}

for (const { name, reason, metadata, user, want, asked = [me] } of [
  { name: "step-up", reason: "STEP_UP_REQUIRED", metadata: { max_age: "60", acr_values: "gold silver" }, asked: [],
    want: ["step-up", "/api/auth/login?returnTo=%2Forders%3Fpage%3D2%23top&max_age=60&acr_values=gold+silver"] },
  { name: "no session", reason: "TOKEN_MISSING", want: ["signed-out", "/api/auth/login?returnTo=%2Forders%3Fpage%3D2%23top"] },
  { name: "an expired token", reason: "TOKEN_EXPIRED", user: ada, want: [] },
  { name: "an expired token, and the session has ended", reason: "TOKEN_EXPIRED", want: ["signed-out", "/api/auth/login?returnTo=%2Forders%3Fpage%3D2%23top"] },
  { name: "a token that is refused", reason: "TOKEN_INVALID", user: ada, want: ["refused", "/api/auth/login?returnTo=%2Forders%3Fpage%3D2%23top"] },
]) {
  test(`a stream ends: ${name}`, async (t) => {
    const p = page(t);
    p.answer(watch, refusal(reason, metadata));
    p.answer(me, user ? json(user) : empty());
    p.begin(600);
    const session = createSession();
    let seen;
    const products = createClient(ProductService, createTransport({
      session,
      interceptors: [(next) => async (request) => {
        const response = await next(request);
        seen = response.stream;
        return response;
      }],
    }));
    await assert.rejects(async () => {
      for await (const _ of products.watchProducts({}));
    }, (e) => {
      const login = loginRequired(e);
      assert.equal(e.code, Code.Unauthenticated);
      assert.deepEqual(login ? [login.kind, login.loginURL] : [], want);
      return true;
    });
    assert.ok(seen, "the interceptor of the application was not called");
    const paths = p.asked();
    assert.equal(paths.shift(), watch);
    assert.deepEqual(paths.filter((path) => path === me), asked);
  });
}
