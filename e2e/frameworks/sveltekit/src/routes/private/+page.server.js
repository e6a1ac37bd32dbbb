export function load({ request }) {
  const h = request.headers;
  return {
    secret: process.env.SECRET_MARKER,
    told: `session=${h.get("gatehouse-session")} subject=${h.get("gatehouse-subject")}`,
  };
}
