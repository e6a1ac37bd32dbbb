"use client";

import { useEffect, useState } from "react";
import type { User } from "./user";

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
