// Next.js, built for production.
import { createServer } from "node:http";
import next from "next";

const port = Number(process.env.PORT);
const app = next({ dev: false, dir: import.meta.dirname, hostname: "localhost", port });
await app.prepare();
createServer(app.getRequestHandler()).listen(port, "127.0.0.1");
