// A page behind the bff, which has a cookie instead of a token.
import { createConnectTransport, createGrpcWebTransport } from "@connectrpc/connect-web";
import { rest, signedIn, signedOut } from "./story.js";

const transports = {
  Connect: createConnectTransport({ baseUrl: "/api", useHttpGet: true }),
  "Connect, binary": createConnectTransport({ baseUrl: "/api", useBinaryFormat: true }),
  "gRPC-Web": createGrpcWebTransport({ baseUrl: "/api" }),
};

async function run(person: "in" | "out"): Promise<string> {
  const done: string[] = [];
  for (const [name, transport] of Object.entries(transports)) {
    try {
      await (person === "in" ? signedIn(transport) : signedOut(transport));
    } catch (e) {
      return `${name}: ${String(e)}`;
    }
    done.push(name);
  }
  await rest("", "");
  return `well: ${done.join("; ")}`;
}

Object.assign(window, { run });
document.body.dataset["ready"] = "";
