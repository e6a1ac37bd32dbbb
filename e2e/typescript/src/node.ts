// A program in Node that calls the gateway with a token.
import type { Interceptor } from "@connectrpc/connect";
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-node";
import * as web from "@connectrpc/connect-web";
import { rest, signedIn, signedOut } from "./story.js";

const gateway = process.env["GATEWAY"] ?? "";
const token = process.env["TOKEN"] ?? "";
const baseUrl = `${gateway}/api`;

const bearer: Interceptor = (next) => (req) => {
  req.header.set("Authorization", `Bearer ${token}`);
  return next(req);
};

for (const interceptors of [[bearer], []]) {
  const transports = {
    "Connect, JSON": createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors, useHttpGet: true }),
    "Connect, binary": createConnectTransport({ baseUrl, httpVersion: "1.1", interceptors, useBinaryFormat: true }),
    "Connect, HTTP/2": createConnectTransport({ baseUrl, httpVersion: "2", interceptors }),
    "gRPC-Web": createGrpcWebTransport({ baseUrl, httpVersion: "1.1", interceptors }),
    "fetch, Connect": web.createConnectTransport({ baseUrl, interceptors, useHttpGet: true }),
    "fetch, gRPC-Web": web.createGrpcWebTransport({ baseUrl, interceptors }),
  };
  for (const [name, transport] of Object.entries(transports)) {
    try {
      await (interceptors.length > 0 ? signedIn(transport) : signedOut(transport));
    } catch (e) {
      throw new Error(name, { cause: e });
    }
    console.log(`${name}: ${interceptors.length > 0 ? "signed in" : "signed out"}`);
  }
}
await rest(gateway, token);
console.log("REST: well");
process.exit(); // the HTTP/2 connection stays open
