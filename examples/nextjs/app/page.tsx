import { SessionProvider } from "gatehouse-browser/react";
import { Greeting } from "@/components/greeting";
import { getUser } from "@/lib/session";

export default async function Home() {
  return (
    <>
      <h1>Home</h1>
      <SessionProvider user={await getUser()}>
        <Greeting />
      </SessionProvider>
      <p>This page was made on the server, which has asked Gatehouse for the signed-in user.</p>
    </>
  );
}
