// The API of the tutorial: it verifies access tokens itself. Behind Gatehouse it needs no CORS, because
// browsers call it at the address of the page.
import express from "express";
import { expressjwt } from "express-jwt";
import jwksRsa from "jwks-rsa";

const issuer = process.env.AUTH0_ISSUER_BASE_URL;
const port = process.env.PORT ?? 4000;

const checkJwt = expressjwt({
  secret: jwksRsa.expressJwtSecret({
    cache: true,
    rateLimit: true,
    jwksUri: process.env.JWKS_URI ?? `${issuer}/.well-known/jwks.json`,
  }),
  audience: process.env.AUTH0_AUDIENCE,
  issuer,
  algorithms: ["RS256"],
});

const app = express();
app.disable("x-powered-by");
app.use(express.json());
app.use((req, res, next) => {
  console.log(req.method, req.originalUrl);
  next();
});

app.get("/api", (req, res) => res.type("text").send("Server Running..."));
app.get("/api/v1", (req, res) => res.redirect("/api"));
app.get("/api/private-route", checkJwt, (req, res) => res.json({ message: "This is a private route" }));

app.get("/api/time", checkJwt, (req, res) => {
  res.type("text/event-stream");
  const send = () => res.write(`data: ${new Date().toISOString()}\n\n`);
  send();
  const timer = setInterval(send, 1000);
  res.on("close", () => clearInterval(timer));
});

const notes = []; // newest first
let last = 0;

app.get("/api/notes", (req, res) => res.json({ notes }));
app.post("/api/notes", checkJwt, (req, res) => {
  const text = req.body?.text;
  if (typeof text !== "string" || text.length < 1 || text.length > 280) {
    return res.status(400).json({ message: "text must have 1 to 280 characters" });
  }
  const note = { id: String(++last), text, author: req.auth.sub };
  notes.unshift(note);
  res.json({ note });
});
app.delete("/api/notes/:id", checkJwt, (req, res) => {
  if (!req.auth.permissions?.includes("notes:moderate")) {
    return res.status(403).json({ message: "the permission notes:moderate is missing" });
  }
  const i = notes.findIndex((note) => note.id === req.params.id);
  if (i < 0) return res.status(404).json({ message: "there is no such note" });
  notes.splice(i, 1);
  res.json({});
});

app.use((err, req, res, next) => {
  if (res.headersSent) return next(err);
  const status = err.status ?? 500;
  res.status(status).json({ message: status < 500 ? err.message : "internal error" });
});

app.listen(port, "127.0.0.1", () => console.log(`listens on http://127.0.0.1:${port}`));
