import { getUser } from "@/lib/session";

export default async function Home() {
  const user = await getUser();
  return (
    <>
      <h1>Home</h1>
      <p>{user ? `Welcome back, ${user.name ?? user.sub}.` : "You are not signed in."}</p>
      <p>This page was made on the server, which asked Gatehouse who is looking at it.</p>
    </>
  );
}
