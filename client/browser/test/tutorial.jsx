// A page for nextjs-auth0 version 3. The test bundles it with gatehouse-browser/react in the place of
// that module.

import { UserProvider, useUser } from "@auth0/nextjs-auth0/client";
import React from "react";

function Profile() {
  const { user, error, isLoading, checkSession } = useUser();

  if (isLoading) return <p id="view">Loading</p>;
  if (error) return <button id="view" onClick={checkSession}>{`Error ${error.status}`}</button>;
  if (!user) return <a id="view" href="/api/auth/login">Login</a>;
  return <p id="view">{`Hello ${user.name}, ${user.email}`}</p>;
}

export function Tutorial() {
  return (
    <UserProvider>
      <Profile />
    </UserProvider>
  );
}
