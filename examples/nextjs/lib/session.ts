import { headers } from "next/headers";
import type { User } from "./user";

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

/** The signed-in user, for server components; null if signed out. */
export async function getUser(): Promise<User | null> {
  const answer = await ask("/api/auth/me");
  return answer.status === 200 ? ((await answer.json()) as User) : null;
}
