import assert from "node:assert/strict";
import { test } from "node:test";
import { createSession, session as shared, SessionError } from "../dist/index.js";
import { ada, ben, empty, json, page, settle } from "./page.js";

const me = "/api/auth/me";
const end = "/api/auth/session";

/** Makes a session that is followed until the test ends, and notes its states. */
function follow(t, options) {
  const session = createSession(options);
  const seen = [];
  const stop = session.subscribe(() => seen.push(session.getSnapshot()));
  const follower = { session, seen, stop, now: () => session.getSnapshot() };
  return follower;
}

/** Ends a session's timers and channel: its page is left. */
const leave = (p) => p.window.dispatchEvent(new Event("pagehide"));

/** Runs a test on a page that is left at its end. */
function onPage(name, run, options) {
  test(name, async (t) => {
    const p = page(t, options);
    try {
      await run(t, p);
    } finally {
      leave(p);
    }
  });
}

onPage("nothing happens before the first use", async (t, p) => {
  for (const session of [shared, createSession(), createSession({ initialUser: ada })]) session.getSnapshot();
  await p.pass(300);
  assert.deepEqual(p.asked(), []);
  assert.deepEqual(shared.getSnapshot(), { status: "loading" });
});

onPage("signed in", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(600, 3600);
  const { session, seen, now } = follow(t);
  await settle();
  assert.deepEqual(now(), {
    status: "signed-in", user: ada, warning: false, extendable: true,
    expiresAt: Date.parse("2030-01-01T00:10:00Z"), latestAt: Date.parse("2030-01-01T01:00:00Z"),
  });
  assert.deepEqual(p.asked(), [me, end]);
  const before = now();
  await session.check();
  assert.equal(now(), before, "the same state is another object");
  assert.ok(seen.length <= 2, `${seen.length} changes`);
});

onPage("signed out", async (t, p) => {
  p.answer(me, empty());
  const { now } = follow(t);
  await settle();
  assert.deepEqual(now(), { status: "signed-out" });
  await p.pass(20);
  assert.deepEqual(p.asked(), [me]);
});

test("errors are no sign-out, and are asked again", async (t) => {
  for (const [name, { answer, status, message, after }] of Object.entries({
    "503 with Retry-After": { answer: empty(503, { "Retry-After": "7" }), status: 503, message: /503/, after: 7 },
    "503": { answer: empty(503), status: 503, message: /503/, after: 1 },
    "404": { answer: empty(404), status: 404, message: /404/, after: 1 },
    "no connection": { answer: new TypeError("Failed to fetch"), message: /reached/, after: 1 },
    "a page of another server": { answer: new Response("<!doctype html>"), message: /through Gatehouse/, after: 1 },
  })) {
    await t.test(name, async (t) => {
      const p = page(t);
      p.answer(me, answer, json(ada));
      p.begin(600);
      const { now } = follow(t);
      await settle();
      assert.equal(now().status, "error");
      assert.ok(now().error instanceof SessionError);
      assert.equal(now().error.status, status);
      assert.match(now().error.message, message);
      assert.equal(now().user, undefined);
      assert.equal(now().retryAt, Date.now() + after * 1000);
      assert.deepEqual(p.navigated, []);
      p.asked();
      await p.pass(after - 0.1);
      assert.deepEqual(p.asked(), []);
      await p.pass(0.2);
      assert.equal(now().status, "signed-in");
      leave(p);
    });
  }
});

onPage("an error keeps the last user, and pauses grow", async (t, p) => {
  p.answer(me, json(ada), empty(503));
  p.begin(6000);
  const { session, now } = follow(t);
  await settle();
  p.answer(end, empty(503));
  await session.check();
  assert.equal(now().status, "error");
  assert.deepEqual(now().user, ada);
  p.asked();
  const asked = () => p.asked().filter((path) => path === me).length;
  await p.pass(1 + 2 + 4 + 8 + 16 + 32 + 59);
  assert.equal(asked(), 6);
  await p.pass(61);
  assert.equal(asked(), 2, "the pause grows beyond a minute");
});

onPage("a page that is hidden or offline waits", async (t, p) => {
  p.answer(me, empty(503));
  const { now } = follow(t);
  p.document.hidden = true;
  await settle();
  p.asked();
  await p.pass(300);
  assert.deepEqual(p.asked(), [], "a hidden page asks");
  p.document.hidden = false;
  p.document.dispatchEvent(new Event("visibilitychange"));
  await settle();
  assert.deepEqual(p.asked(), [me]);
  p.answer(me, empty());
  p.window.dispatchEvent(new Event("online"));
  await settle();
  assert.equal(now().status, "signed-out");
});

onPage("a page that becomes visible asks again, but not at once", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(6000);
  follow(t);
  const show = async () => {
    p.document.dispatchEvent(new Event("visibilitychange"));
    await settle();
    return p.asked();
  };
  await settle();
  p.asked();
  await p.pass(20);
  assert.deepEqual(await show(), []);
  await p.pass(20);
  assert.deepEqual(await show(), [me]);
});

onPage("the countdown follows the server's clock", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(300, 300);
  const { session, now, seen } = follow(t, { warnBefore: 30 });
  await settle();
  assert.equal(session.remaining(), 300);
  p.asked();
  await p.pass(100);
  assert.equal(session.remaining(), 200);
  assert.deepEqual(p.asked().filter((path) => path === me), [], "the countdown uses the session");

  // The device's clock is set: the server is asked, and the time that is left stays.
  p.setDate(7200);
  await p.pass(61);
  assert.ok(p.asked().includes(end));
  assert.equal(Math.round((now().expiresAt - Date.now()) / 1000), Math.round(session.remaining()));
  assert.equal(now().extendable, false);

  // Another tab has used the session shortly before the warning.
  await p.pass(session.remaining() - 31);
  p.begin(400, 400);
  seen.length = 0;
  await p.pass(5);
  assert.equal(seen.some((s) => s.warning), false);
  assert.ok(session.remaining() > 390);
});

onPage("warning, extension and end", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(100);
  const { session, now } = follow(t, { warnBefore: 30 });
  await settle();
  await p.pass(69);
  assert.equal(now().warning, false);
  p.asked();
  await p.pass(2);
  assert.deepEqual(p.asked(), [end], "the end is not confirmed before the warning");
  assert.equal(now().warning, true);
  assert.equal(now().extendable, true);

  p.begin(200);
  assert.equal((await session.extend()).warning, false);
  assert.deepEqual(p.asked(), [me, end]);
  assert.equal(session.remaining(), 200);

  await p.pass(165);
  assert.equal(now().warning, false);
  await p.pass(40);
  assert.deepEqual(now(), { status: "signed-out", reason: "expired" });
  assert.equal(session.remaining(), undefined);
});

onPage("the server decides about the end", async (t, p) => {
  p.answer(me, empty(503));
  p.begin(40);
  const { now } = follow(t, { initialUser: ada, warnBefore: 0 });
  await p.pass(2);
  p.answer(end, empty(503));
  await p.pass(41);
  assert.equal(now().status, "error", "the device has ended the session");
  assert.deepEqual(now().user, ada);
});

onPage("a server-rendered page begins with its user", async (t, p) => {
  p.begin(600);
  const { now } = follow(t, { initialUser: ada });
  assert.equal(now().status, "signed-in");
  await p.pass(2);
  assert.deepEqual(p.asked(), [end]);
  assert.notEqual(now().expiresAt, undefined);
});

onPage("a server-rendered page begins without a user", async (t, p) => {
  const { now } = follow(t, { initialUser: null });
  await p.pass(2);
  assert.deepEqual(now(), { status: "signed-out" });
  assert.deepEqual(p.asked(), []);
});

onPage("another user", async (t, p) => {
  p.answer(me, json(ada), json(ben));
  p.begin(600);
  const one = follow(t);
  await settle();
  await one.session.check();
  assert.deepEqual(p.navigated, ["reload"]);
  assert.equal(p.document.documentElement.style.visibility, "hidden", "the former user's content shows");
});

onPage("another user, as the page wants", async (t, p) => {
  const changed = [];
  p.answer(me, json(ben));
  p.begin(600);
  const two = follow(t, { initialUser: ada, onUserChange: (user) => changed.push(user.sub) });
  await two.session.check();
  assert.deepEqual(changed, ["ben"]);
  assert.deepEqual(p.navigated, []);
});

onPage("tabs tell each other, and answers that are older are not used", async (t, p) => {
  p.begin(600);
  const other = new BroadcastChannel("gatehouse-session");
  t.after(() => other.close());
  const heard = [];
  other.onmessage = ({ data }) => heard.push(data);
  // The answer "signed in" is under way when the session ends.
  let arrive;
  p.answer(me, () => new Promise((resolve) => (arrive = () => resolve(json(ada)))), empty());
  const { now, seen } = follow(t);
  await settle();
  other.postMessage({ name: "ended", data: { reason: "operator" } });
  await settle();
  arrive();
  await settle();
  assert.equal(now().status, "signed-out");
  assert.equal(seen.some((s) => s.status === "signed-in"), false, "the session came back for a moment");

  // A sign-in in another tab.
  p.answer(me, json(ada));
  other.postMessage({ name: "subject", data: "ada" });
  await settle();
  assert.equal(now().status, "signed-in");
  assert.deepEqual(heard.at(-1), { name: "subject", data: "ada" });
  p.asked();
  other.postMessage({ name: "subject", data: "ada" });
  await settle();
  assert.deepEqual(p.asked(), [], "the same user is asked for");

  other.postMessage({ name: "extended", data: { idle_seconds: 900, absolute_seconds: 900 } });
  await settle();
  assert.equal(now().expiresAt, Date.now() + 900_000);

  // A sign-out there, whose reason comes later.
  p.answer(me, empty());
  other.postMessage({ name: "subject", data: null });
  await settle();
  assert.deepEqual(now(), { status: "signed-out", reason: "unknown" });
  other.postMessage({ name: "ended", data: { reason: "signed_out" } });
  await settle();
  assert.deepEqual(now(), { status: "signed-out", reason: "signed_out" });
  other.postMessage({ name: "ended", data: { reason: "a reason of tomorrow" } });
  await settle();
  assert.equal(now().reason, "signed_out");
});

onPage("a tab that shows a former user is told", async (t, p) => {
  p.answer(me, json(ben));
  p.begin(600);
  const { session } = follow(t);
  await settle();
  const other = new BroadcastChannel("gatehouse-session");
  t.after(() => other.close());
  const heard = [];
  other.onmessage = ({ data }) => heard.push(data);
  other.postMessage({ name: "subject", data: "ada" }); // rendered before ben signed in
  await settle();
  assert.deepEqual(heard, [{ name: "subject", data: "ben" }]);
  // Tabs to which servers give different answers do not ask in turns.
  heard.length = 0;
  other.postMessage({ name: "subject", data: null });
  await settle();
  assert.deepEqual(heard, []);
  assert.equal(session.getSnapshot().user.sub, "ben");
});

onPage("an end without numbers is not waited for", async (t, p) => {
  p.answer(me, json(ada));
  for (const wrong of [{}, [], "soon", { idle_seconds: "soon", absolute_seconds: null }]) {
    p.answer(end, json(wrong));
    const { now, seen, stop } = follow(t);
    await p.pass(120);
    assert.equal(now().status, "signed-in");
    assert.ok(p.asked().length < 10 && seen.length < 10, `${seen.length} changes for ${JSON.stringify(wrong)}`);
    stop();
    await p.pass(2);
  }
});

onPage("back from the browser's memory", async (t, p) => {
  p.begin(600);
  const { style } = p.document.documentElement;
  const { now } = follow(t, { initialUser: ada });
  const back = async () => {
    leave(p);
    assert.equal(style.visibility, "hidden");
    p.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
    assert.equal(style.visibility, "hidden", "shown before the user is confirmed");
    await settle();
    assert.equal(style.visibility, "");
  };
  p.answer(me, json(ada));
  await back();
  assert.equal(now().status, "signed-in");
  p.answer(me, empty(503));
  leave(p);
  p.window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  await settle();
  assert.equal(now().status, "error");
  assert.equal(now().user, undefined, "the user may have signed out meanwhile");
  assert.equal(style.visibility, "hidden", "shown although the user may have signed out");
  p.answer(me, json(ada));
  await p.pass(3);
  assert.equal(now().status, "signed-in");
  assert.equal(style.visibility, "");
  p.answer(me, empty());
  await back();
  assert.equal(now().status, "signed-out");
});

onPage("without listeners everything ends after a second", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(600);
  const { session, stop } = follow(t);
  await settle();
  const online = async () => {
    await p.pass(100);
    p.asked();
    p.window.dispatchEvent(new Event("online"));
    await settle();
    return p.asked();
  };
  stop();
  const end = session.subscribe(() => {}); // at once, as React does
  assert.deepEqual(await online(), [me]);
  end();
  assert.deepEqual(await online(), []);
  await p.pass(1000);
  assert.deepEqual(p.asked(), []);
  session.subscribe(() => {});
  await settle();
  assert.deepEqual(p.asked(), [me]);
});

onPage("without locks the server is asked every minute", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(600);
  const { now } = follow(t);
  await settle();
  p.asked();
  await p.pass(121);
  assert.deepEqual(p.asked(), [end, end]);
  p.answer(end, empty(503));
  await p.pass(60);
  assert.equal(now().status, "signed-in", "an outage ends the session");
  p.answer(end, empty());
  await p.pass(60);
  assert.deepEqual(now(), { status: "signed-out", reason: "unknown" });
  p.asked();
  await p.pass(300);
  assert.deepEqual(p.asked(), []);

  p.begin(600);
  p.window.dispatchEvent(new Event("online")); // a user has signed in
  await settle();
  p.asked();
  await p.pass(61);
  assert.deepEqual(p.asked(), [end], "the next session is not followed");
}, { locks: null });

onPage("a failure that comes after the end changes nothing", async (t, p) => {
  p.answer(me, json(ada));
  p.begin(600);
  const { session, now } = follow(t);
  await settle();
  let fail;
  p.answer(end, () => new Promise((_, reject) => (fail = () => reject(new TypeError("cut")))));
  const extended = session.extend();
  await settle();
  p.answer(me, empty());
  await session.check();
  fail();
  await extended;
  assert.deepEqual(now(), { status: "signed-out", reason: "unknown" });
});
