import { Link } from "react-router";

export function loader() {
  return { text: "Public" };
}

export default function Home({ loaderData }) {
  return (
    <main>
      <h1>{loaderData.text}</h1>
      <img src="/logo.png" alt="" />
      <Link to="/private">Private</Link>
    </main>
  );
}
