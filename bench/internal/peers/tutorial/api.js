// The tutorial's API: Express with express-jwt and jwks-rsa.
import express from "express";
import { expressjwt } from "express-jwt";
import jwksRsa from "jwks-rsa";
import morgan from "morgan";

const issuer = process.env.AUTH0_ISSUER_BASE_URL;

const checkJwt = expressjwt({
  secret: jwksRsa.expressJwtSecret({ cache: true, rateLimit: true, jwksUri: process.env.JWKS_URI }),
  audience: process.env.AUTH0_AUDIENCE,
  issuer,
  algorithms: ["RS256"],
});

const app = express();
app.disable("x-powered-by");
app.use(morgan("combined"));
app.get("/api", (req, res) => res.type("text").send("Server Running..."));
app.get("/api/private-route", checkJwt, (req, res) => res.json({ message: "This is a private route" }));
app.use((err, req, res, next) => {
  if (res.headersSent) return next(err);
  const status = err.status ?? 500;
  res.status(status).json({ message: status < 500 ? err.message : "internal error" });
});
app.listen(Number(process.env.PORT), "127.0.0.1");
