import { LoginRequiredError, session, type User } from "gatehouse-browser";
import { useSession } from "gatehouse-browser/react";
import { useState } from "react";

export function Home() {
  const state = useSession();
  const user = "user" in state ? state.user : undefined;
  return (
    <>
      <h1>Home</h1>
      {user && <p>Welcome back, {user.name ?? user.sub}.</p>}
      {state.status === "signed-out" && <p>You are not signed in.</p>}
      <p>This page is a file. It has asked Gatehouse for the signed-in user.</p>
    </>
  );
}

export function Public() {
  return (
    <>
      <h1>Public</h1>
      <p>This page needs no sign-in.</p>
    </>
  );
}

export function Private({ user }: { user: User }) {
  const [answer, setAnswer] = useState("");
  async function call() {
    setAnswer("…");
    try {
      const response = await session.fetch("/api/private-route");
      const body = await response.json();
      setAnswer(response.ok ? body.message : `The API answered with status ${response.status}: ${body.message}`);
    } catch (error) {
      // If the session has ended, RequireSession says so.
      setAnswer(error instanceof LoginRequiredError ? "The API has refused the call." : "The API could not be reached. Please try again.");
    }
  }
  return (
    <>
      <p>Only signed-in users see this page. You are {user.name ?? user.sub}.</p>
      <button type="button" onClick={call}>
        Call API
      </button>
      <p role="status">{answer}</p>
    </>
  );
}

export function Missing() {
  return (
    <>
      <h1>Not found</h1>
      <p>There is no such page.</p>
    </>
  );
}
