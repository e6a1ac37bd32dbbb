import { RequireSession, SessionProvider } from "gatehouse-browser/react";
import type { Metadata } from "next";
import { CallApi } from "@/components/call-api";
import { ask, getUser } from "@/lib/session";

export const metadata: Metadata = { title: "Private" };

// Gatehouse redirects signed-out users to the login before they reach this page, and the API
// authorizes each call. RequireSession hides the page when the session ends while it is open. With
// the user that the server knows, it shows the page at once.
export default async function Private() {
  const [user, answer] = await Promise.all([getUser(), ask("/api/private-route")]);
  const { message } = await answer.json();
  return (
    <SessionProvider user={user}>
      <RequireSession>
        <h1>Private</h1>
        <p>Only signed-in users see this page. You are {user?.name ?? user?.sub}.</p>
        <p>
          The server called the API in your name, and it said: <q>{message}</q>
        </p>
        <CallApi />
      </RequireSession>
    </SessionProvider>
  );
}
