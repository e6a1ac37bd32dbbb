export default function Private() {
  return (
    <main>
      <p>{process.env.SECRET_MARKER}</p>
      <img src="/private/secret.png" alt="" />
    </main>
  );
}
