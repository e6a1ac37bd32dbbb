import { useEffect, useState } from "react";

/** The claims of a user, as /api/auth/me returns them. */
export type User = { sub: string; name?: string; email?: string };

/** The signed-in user: undefined while loading, null if signed out. */
export function useUser(): User | null | undefined {
  const [user, setUser] = useState<User | null>();
  useEffect(() => {
    fetch("/api/auth/me")
      .then((answer) => (answer.status === 200 ? answer.json() : null)) // 204: signed out
      .then(setUser, () => setUser(null));
  }, []);
  return user;
}

/** The address of a login that returns to this page. */
export const login = (page: string) => `/api/auth/login?returnTo=${encodeURIComponent(page)}`;
