import { useState } from "react";
import { login, type User } from "./user";

export function Home({ user }: { user: User | null }) {
  return (
    <>
      <h1>Home</h1>
      <p>{user ? `Welcome back, ${user.name ?? user.sub}.` : "You are not signed in."}</p>
      <p>This page is a file. It asked Gatehouse who is looking at it.</p>
    </>
  );
}

export function Public() {
  return (
    <>
      <h1>Public</h1>
      <p>Anybody may read this page.</p>
    </>
  );
}

export function Private({ user }: { user: User }) {
  const [answer, setAnswer] = useState("");
  async function call() {
    setAnswer("…");
    try {
      const response = await fetch("/api/private-route");
      if (response.status === 401) {
        // The session has ended. The login leads back to this page.
        location.assign(login(location.pathname));
        return;
      }
      const body = await response.json();
      setAnswer(response.ok ? body.message : `The API answered with status ${response.status}: ${body.message}`);
    } catch {
      setAnswer("The API could not be reached. Please try again.");
    }
  }
  return (
    <>
      <h1>Private</h1>
      <p>Only people who are signed in see this page. You are {user.name ?? user.sub}.</p>
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
