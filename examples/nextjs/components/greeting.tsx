"use client";

import { useSession } from "gatehouse-browser/react";

export function Greeting() {
  const state = useSession();
  if ("user" in state && state.user) return <p>Welcome back, {state.user.name ?? state.user.sub}.</p>;
  return state.status === "signed-out" ? <p>You are not signed in.</p> : null;
}
