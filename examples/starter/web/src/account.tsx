import { session, type State } from "gatehouse-browser";
import { useEffect, useState, useSyncExternalStore } from "react";

export function useSession(): State {
  return useSyncExternalStore(session.subscribe, session.getSnapshot);
}

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
          {state.warning && <Countdown />}
        </p>
      );
  }
}

/** Shows in the last minute how long the session lasts, and a button that extends it. */
function Countdown() {
  const [, tick] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => tick((n) => n + 1), 1000);
    return () => clearInterval(timer);
  }, []);
  return (
    <small role="timer">
      Your session ends in {Math.ceil(session.remaining() ?? 0)} s. <button onClick={session.extend}>Stay signed in</button>
    </small>
  );
}
