import type { Metadata } from "next";
import { CallApi } from "@/components/call-api";
import { ask, getUser } from "@/lib/session";

export const metadata: Metadata = { title: "Private" };

// Gatehouse redirects signed-out users to the login before they reach this page, and the API
// authorizes each call. The page checks nothing.
export default async function Private() {
  const [user, answer] = await Promise.all([getUser(), ask("/api/private-route")]);
  const { message } = await answer.json();
  return (
    <>
      <h1>Private</h1>
      <p>Only people who are signed in see this page. You are {user?.name ?? user?.sub}.</p>
      <p>
        The server called the API in your name, and it said: <q>{message}</q>
      </p>
      <CallApi />
    </>
  );
}
