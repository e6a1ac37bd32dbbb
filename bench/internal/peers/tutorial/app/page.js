export default function Page() {
  return <p>Signed in</p>;
}
