import { headers } from "next/headers";
import type { User } from "./user";

// Where Gatehouse is, as this server reaches it.
const gatehouse = process.env.GATEHOUSE_URL ?? "http://localhost:3000";

/**
 * Asks Gatehouse something in the name of whoever asks for this page, by
 * passing the browser's cookie on. The cookie is all there is: no token ever
 * comes here.
 */
export async function ask(path: string): Promise<Response> {
  const cookie = (await headers()).get("cookie") ?? "";
  return fetch(gatehouse + path, { headers: { cookie }, cache: "no-store" });
}

/** Who is signed in, for server components; null for nobody. */
export async function getUser(): Promise<User | null> {
  const answer = await ask("/api/auth/me");
  return answer.status === 200 ? ((await answer.json()) as User) : null;
}
