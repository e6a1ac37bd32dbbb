import { useEffect, useState } from "react";

/** The claims of a person, as /api/auth/me tells them. */
export type User = { sub: string; name?: string; email?: string };

/** Who is signed in: undefined until that is known, null for nobody. */
export function useUser(): User | null | undefined {
  const [user, setUser] = useState<User | null>();
  useEffect(() => {
    fetch("/api/auth/me")
      .then((answer) => (answer.status === 200 ? answer.json() : null)) // 204: signed out
      .then(setUser, () => setUser(null));
  }, []);
  return user;
}

/** Where to sign in and come back to this page. */
export const login = (page: string) => `/api/auth/login?returnTo=${encodeURIComponent(page)}`;
