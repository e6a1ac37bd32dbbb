// A server that misbehaves as it is told: /…/CASE?length=1&pause=MS. See
// proxy_matrix_test.go.
import http from "node:http";

const parts = ["a", "b", "c"].map((letter) => letter.repeat(3000));
const size = 9000;

const server = http.createServer((req, res) => handle(req, res));
server.on("checkContinue", (req, res) => {
  req.socket.destroy(); // an Expect that was passed on
});

async function handle(req, res) {
  const url = new URL(req.url, "http://localhost");
  const kind = url.pathname.split("/").pop();
  const pause = () => new Promise((done) => setTimeout(done, Number(url.searchParams.get("pause"))));
  const headers = { "Content-Type": "text/plain" };
  if (url.searchParams.has("length")) {
    headers["Content-Length"] = size + (kind === "abort-end" ? 1 : 0);
  }
  const early = kind.startsWith("early");
  if (!early) {
    for await (const chunk of req) void chunk;
  }
  switch (kind) {
    case "early-close":
      headers["Connection"] = "close";
      break;
    case "pause-header":
      await pause();
      break;
    case "hundred":
      res.writeContinue();
      break;
    case "hint":
      res.writeEarlyHints({ link: "</style.css>; rel=preload", "set-cookie": "gatehouse=planted" });
      break;
    case "abort-start":
      req.socket.destroy();
      return;
    case "abort-header":
      req.socket.end("HTTP/1.1 200 OK\r\nContent-Type: te");
      return;
  }
  res.writeHead(200, headers);
  res.flushHeaders();
  const write = (text) => new Promise((done) => res.write(text, done));
  await write(parts[0]);
  if (kind === "abort-part") {
    req.socket.destroy();
    return;
  }
  if (kind === "pause-chunk") await pause();
  await write(parts[1]);
  await write(parts[2]);
  if (kind === "abort-end") {
    req.socket.destroy();
    return;
  }
  if (kind === "pause-end") await pause();
  res.end();
  if (early) req.resume();
}

server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.on("end", () => process.exit()).resume(); // the test is gone
