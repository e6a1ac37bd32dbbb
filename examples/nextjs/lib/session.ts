import type { User } from "gatehouse-browser";
import { headers } from "next/headers";

// The address of Gatehouse for this server.
const gatehouse = process.env.GATEHOUSE_URL ?? "http://localhost:3000";

/**
 * Sends a request to Gatehouse with the cookie of the browser that requested this page. This
 * server never has a token.
 */
export async function ask(path: string): Promise<Response> {
  const cookie = (await headers()).get("cookie") ?? "";
  return fetch(gatehouse + path, { headers: { cookie }, cache: "no-store" });
}

/** The signed-in user, for server components; null if signed out, undefined if it is not known. */
export async function getUser(): Promise<User | null | undefined> {
  const answer = await ask("/api/auth/me");
  if (answer.status === 200) return (await answer.json()) as User;
  return answer.status === 204 ? null : undefined; // 503: the session store is unavailable
}
