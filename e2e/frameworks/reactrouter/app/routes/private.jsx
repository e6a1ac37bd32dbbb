export function loader({ request }) {
  const h = request.headers;
  return {
    secret: process.env.SECRET_MARKER,
    told: `session=${h.get("gatehouse-session")} subject=${h.get("gatehouse-subject")}`,
  };
}

export default function Private({ loaderData }) {
  return (
    <main>
      <p>{loaderData.secret}</p>
      <p>{loaderData.told}</p>
      <img src="/private/secret.png" alt="" />
    </main>
  );
}
