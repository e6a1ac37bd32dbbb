"use client";

import { useState } from "react";

export function CallApi() {
  const [answer, setAnswer] = useState("");
  async function call() {
    setAnswer("…");
    try {
      const response = await fetch("/api/private-route");
      if (response.status === 401) {
        // The session has ended. The login leads back to this page.
        location.assign(`/api/auth/login?returnTo=${encodeURIComponent(location.pathname)}`);
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
      <button type="button" onClick={call}>
        Call API
      </button>
      <p role="status">{answer}</p>
    </>
  );
}
