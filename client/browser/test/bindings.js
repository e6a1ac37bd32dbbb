// A page for tests of the bindings in a browser, bundled with a development build of React.

import { ConnectError, createClient } from "@connectrpc/connect";
import { createElement as h, StrictMode, useState } from "react";
import { createRoot, hydrateRoot } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { ProductService } from "../../typescript/gen/audioarchive/v1/product_pb.js";
import { StatusService } from "../../typescript/gen/audioarchive/v1/status_pb.js";
import { createTransport, loginRequired } from "../dist/connect.js";
import { createSession } from "../dist/index.js";
import { RequireSession, SessionProvider, useSession, useTimeLeft, useUser } from "../dist/react.js";
import { Tutorial } from "./tutorial.jsx";

const parameters = new URLSearchParams(location.search);
const rendered = (globalThis.rendered = []); // what was shown, without repetitions
const errors = (globalThis.errors = []);
const methods = (globalThis.methods = []); // of the requests of Connect
const real = createSession({ warnBefore: Number(parameters.get("warn") ?? 1) });
const session = (globalThis.session = {
  ...real,
  fetch(input, init) {
    methods.push(init.method);
    return real.fetch(input, init);
  },
  login(options) {
    sessionStorage.logins = Number(sessionStorage.logins ?? 0) + 1;
    real.login(options);
  },
});

function View() {
  const { user, error, isLoading } = useUser();
  const state = useSession();
  const left = useTimeLeft();
  const shown = [state.status, user?.name, error?.status, isLoading && "loading", left, state.reason].filter((v) => v || v === 0).join(" ");
  if (rendered.at(-1) !== shown) rendered.push(shown);
  return h("p", { id: "view" }, shown);
}

function Private({ user }) {
  const [typed, type] = useState("");
  return h("label", null, `For ${user.name} `, h("input", { id: "typed", value: typed, onChange: (e) => type(e.target.value) }));
}

/** Two guards, as in a page with a header of its own. */
const guarded = [
  h(RequireSession, { key: 1 }, (user) => h(Private, { user })),
  h(RequireSession, { key: 2, loading: "…", error: null, signedOut: ({ reason }) => `out ${reason}` }, "in"),
  h(RequireSession, { key: 3 }, "in"),
];

const paths = { "/guarded": guarded };
const app = h(StrictMode, null, h(SessionProvider, { session, user: parameters.has("user") ? JSON.parse(parameters.get("user")) : undefined },
  h(View), paths[location.pathname]));
const element = document.getElementById("app");
if (parameters.has("server")) {
  element.innerHTML = renderToString(app);
  globalThis.served = document.getElementById("view").textContent;
  rendered.length = 0;
  hydrateRoot(element, app, { onRecoverableError: (e) => errors.push(String(e)) });
} else {
  createRoot(element).render(location.pathname === "/tutorial" ? h(StrictMode, null, h(Tutorial)) : app);
}

const transport = createTransport({ session });
const status = createClient(StatusService, transport);
const products = createClient(ProductService, transport);

/** Describes how a call ends: the code, and what a sign-in would help. */
globalThis.call = async (name) => {
  try {
    await { private: () => status.getPrivateRoute({}), confirmed: () => status.getConfirmedRoute({}), create: () => products.createProduct({}), list: () => products.listProducts({}) }[name]();
    return "well";
  } catch (e) {
    const error = ConnectError.from(e);
    return [error.code, loginRequired(e)?.kind, loginRequired(e)?.loginURL, error.details.length > 0 && "details"].filter(Boolean).join(" ");
  }
};

/** Starts a stream. streamed becomes how it ended. */
globalThis.stream = async () => {
  globalThis.streamed = "started";
  try {
    for await (const change of products.watchProducts({})) globalThis.streamed = `message ${change.kind}`;
    globalThis.streamed = "ended";
  } catch (e) {
    globalThis.streamed = [ConnectError.from(e).code, loginRequired(e)?.kind].filter(Boolean).join(" ");
  }
};
