"use client";

import { LoginRequiredError, session } from "gatehouse-browser";
import { useState } from "react";

export function CallApi() {
  const [answer, setAnswer] = useState("");
  async function call() {
    setAnswer("…");
    try {
      const response = await session.fetch("/api/private-route");
      const body = await response.json();
      setAnswer(response.ok ? body.message : `The API answered with status ${response.status}: ${body.message}`);
    } catch (error) {
      // If the session has ended, RequireSession says so.
      setAnswer(error instanceof LoginRequiredError ? "The API has refused the call." : "The API could not be reached. Please try again.");
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
