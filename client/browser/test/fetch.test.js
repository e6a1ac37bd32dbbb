import assert from "node:assert/strict";
import { test } from "node:test";
import { createSession, LoginRequiredError, loginURL, logoutURL } from "../dist/index.js";
import { ada, empty, json, origin, page, settle } from "./page.js";

const here = encodeURIComponent("/orders?page=2#top");
const stepUp = 'Bearer error="insufficient_user_authentication", acr_values="strong"';

/** A 401 of the API. */
const unauthorized = (challenge, login = "/api/auth/login?returnTo=%2F") =>
  empty(401, { "Gatehouse-Login": login, ...(challenge && { "WWW-Authenticate": challenge }) });

const unavailable = (after, status = 503) => empty(status, after === undefined ? {} : { "Retry-After": String(after) });

test("addresses of sign-in and sign-out", async (t) => {
  page(t);
  assert.equal(loginURL(), `/api/auth/login?returnTo=${here}`);
  assert.equal(
    loginURL({ returnTo: "/a", prompt: "login", maxAge: 0, acrValues: ["x", "y"], loginHint: "a@b", screenHint: "signup", uiLocales: "de en", connection: "c", organization: "o" }),
    "/api/auth/login?returnTo=%2Fa&prompt=login&max_age=0&acr_values=x+y&login_hint=a%40b&screen_hint=signup&ui_locales=de+en&connection=c&organization=o",
  );
  assert.equal(logoutURL(), "/api/auth/logout");
  assert.equal(logoutURL({ returnTo: "/bye" }), "/api/auth/logout?returnTo=%2Fbye");
});

test("requests to other origins are passed on unchanged", async (t) => {
  const p = page(t);
  for (const answer of [unauthorized(), unavailable(1)]) {
    p.answer("https://other.example/x", answer);
    const init = { headers: { A: "b" } };
    const response = await createSession().fetch("https://other.example/x", init);
    assert.equal(response.status, answer.status);
    assert.deepEqual(p.requests.splice(0), [{ input: "https://other.example/x", init }]);
  }
});

test("nothing is added to a request", async (t) => {
  const p = page(t);
  p.answer("/api/x", json({}));
  await createSession().fetch("/api/x", { method: "POST", body: "a", repeats: 2, onLoginRequired: "navigate" });
  assert.deepEqual(p.requests, [{ input: "/api/x", init: { method: "POST", body: "a" } }]);
});

test("401", async (t) => {
  for (const [name, { challenge, me, kind, status }] of Object.entries({
    "the session has ended": { me: empty(), kind: "signed-out", status: "signed-out" },
    "a step-up asks for no user": { challenge: stepUp, kind: "step-up", status: "loading" },
    "the session lives": { me: json(ada), kind: "refused", status: "signed-in" },
    "the server does not know": { me: unavailable(5), kind: "refused", status: "error" },
  })) {
    await t.test(name, async (t) => {
      const p = page(t);
      p.answer("/api/x", unauthorized(challenge));
      p.begin(600);
      if (me) p.answer("/api/auth/me", me);
      for (const [method, how, navigates] of [["GET", "reject", false], ["GET", "navigate", true], ["POST", "navigate", false]]) {
        const session = createSession({ onLoginRequired: how });
        const error = await session.fetch("/api/x", { method }).catch((e) => e);
        assert.ok(error instanceof LoginRequiredError, String(error));
        assert.equal(error.kind, kind);
        assert.equal(error.loginURL, `/api/auth/login?returnTo=${here}`);
        assert.equal(error.response.status, 401);
        assert.equal(session.getSnapshot().status, status);
        assert.deepEqual(p.navigated.splice(0), navigates && kind !== "refused" ? [error.loginURL] : []);
        error.login();
        assert.deepEqual(p.navigated.splice(0), [error.loginURL]);
      }
    });
  }
});

test("a 401 does not believe an older answer", async (t) => {
  const p = page(t);
  let arrive;
  p.answer("/api/auth/me", () => new Promise((resolve) => (arrive = () => resolve(json(ada)))), empty());
  p.answer("/api/x", unauthorized());
  const session = createSession();
  void session.check();
  const refused = session.fetch("/api/x").catch((e) => e.kind);
  await settle();
  arrive();
  assert.equal(await refused, "signed-out");
});

test("the login of a 401 keeps its parameters, and leads to this origin only", async (t) => {
  const p = page(t);
  const login = async (header) => {
    p.answer("/api/x", unauthorized(stepUp, header));
    return (await createSession().fetch("/api/x").catch((e) => e)).loginURL;
  };
  assert.equal(await login("/api/auth/login?acr_values=strong&returnTo=%2F"), `/api/auth/login?acr_values=strong&returnTo=${here}`);
  for (const header of ["https://evil.example/api/auth/login", "//evil.example/api/auth/login", "javascript:alert(1)", "/elsewhere", "http://["]) {
    assert.equal(await login(header), `/api/auth/login?returnTo=${here}`, header);
  }
});

test("a 401 without Gatehouse-Login is returned", async (t) => {
  const p = page(t);
  p.answer("/api/x", empty(401));
  assert.equal((await createSession().fetch("/api/x")).status, 401);
});

test("Retry-After", async (t) => {
  const body = "x";
  for (const [name, { input = "/api/x", init, script, requests, seconds = 0, status }] of Object.entries({
    "repeats a GET": { script: [unavailable(2), unavailable(3, 429), json({})], requests: 3, seconds: 5.5, status: 200 },
    "repeats a PUT with its body": { init: { method: "put", body }, script: [unavailable(1), json({})], requests: 2, seconds: 1.25, status: 200 },
    "waits for a date": { script: [unavailable("Tue, 01 Jan 2030 00:00:04 GMT"), json({})], requests: 2, seconds: 4.25, status: 200 },
    "repeats three times": { script: [unavailable(0)], requests: 4, seconds: 0.75, status: 503 },
    "repeats as often as asked": { init: { repeats: 1 }, script: [unavailable(0)], requests: 2, seconds: 0.25, status: 503 },
    "repeats no POST": { init: { method: "POST", body }, script: [unavailable(1)], requests: 1, status: 503 },
    "repeats no POST of a Request": { input: () => new Request(origin + "/api/x", { method: "POST", body }), script: [unavailable(1)], requests: 1, status: 503 },
    "repeats no body of a Request": { input: () => new Request(origin + "/api/x", { method: "PUT", body }), script: [unavailable(1)], requests: 1, status: 503 },
    "repeats a Request without a body": { input: () => new Request(origin + "/api/x"), script: [unavailable(1), json({})], requests: 2, seconds: 1.25, status: 200 },
    "repeats no PATCH": { init: { method: "PATCH", body }, script: [unavailable(1)], requests: 1, status: 503 },
    "repeats no stream": { init: { method: "PUT", body: new ReadableStream(), duplex: "half" }, script: [unavailable(1)], requests: 1, status: 503 },
    "repeats nothing without the header": { script: [unavailable()], requests: 1, status: 503 },
    "does not read nonsense": { script: [unavailable("soon")], requests: 1, status: 503 },
    "waits no longer than 30 seconds": { script: [unavailable(31)], requests: 1, status: 503 },
    "repeats no other status": { script: [unavailable(1, 500)], requests: 1, status: 500 },
  })) {
    await t.test(name, async (t) => {
      const p = page(t);
      p.answer("/api/x", ...script);
      let response;
      void createSession().fetch(typeof input === "function" ? input() : input, init).then((r) => (response = r));
      await settle();
      if (seconds) {
        await p.pass(seconds - 0.05);
        assert.equal(response, undefined, "answered early");
        await p.pass(0.1);
      }
      assert.equal(response?.status, status);
      assert.equal(p.requests.length, requests);
    });
  }
});

test("a wait can be aborted", async (t) => {
  const p = page(t);
  p.answer("/api/x", unavailable(20));
  const stop = new AbortController();
  const answer = assert.rejects(createSession().fetch("/api/x", { signal: stop.signal }), /enough/);
  await p.pass(1);
  stop.abort(new Error("enough"));
  await answer;
  await p.pass(30);
  assert.equal(p.requests.length, 1);
});
