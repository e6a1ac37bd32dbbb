"use client";

import { useEffect, useState } from "react";
import type { User } from "./user";

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
