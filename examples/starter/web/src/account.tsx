import { session } from "gatehouse-browser";
import { useSession, useTimeLeft } from "gatehouse-browser/react";

/** Shows who is signed in. An error is not the same as signed out: the user may still be signed in. */
export function Account() {
  const state = useSession();
  switch (state.status) {
    case "loading":
      return <p>Loading…</p>;
    case "error":
      return (
        <p role="alert">
          Your session cannot be checked. <button onClick={session.check}>Try again</button>
        </p>
      );
    case "signed-out":
      return (
        <p>
          {state.reason && "Your session has ended. "}
          <button onClick={() => session.login()}>Sign in</button>
        </p>
      );
    case "signed-in":
      return (
        <p>
          {state.user.name ?? state.user.sub} <button onClick={() => session.logout()}>Sign out</button>
          <Countdown />
        </p>
      );
  }
}

/** Shows in the last minute how long the session lasts, and a button that extends it. */
function Countdown() {
  const seconds = useTimeLeft();
  if (seconds === undefined) return null;
  return (
    <small role="timer">
      Your session ends in {seconds} s. <button onClick={session.extend}>Stay signed in</button>
    </small>
  );
}
