import { loginURL, logoutURL, session } from "gatehouse-browser";
import { RequireSession, useSession } from "gatehouse-browser/react";
import { StrictMode, useEffect, useState, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { Home, Missing, Private, Public } from "./pages";
import "./style.css";

// A router for three pages. Gatehouse serves index.html at every path that is not a file, so that
// each page can be opened directly.
const pages: Record<string, { title: string; page: ReactNode }> = {
  "/": { title: "Home", page: <Home /> },
  "/public": { title: "Public", page: <Public /> },
  // If the page is opened directly, Gatehouse redirects to the login. A click within the
  // application reaches no server: RequireSession starts the login then.
  "/private": {
    title: "Private",
    page: (
      <>
        <h1>Private</h1>
        {/* Account says that the session cannot be checked, and has the button. */}
        <RequireSession error={<p>This page is shown as soon as your session has been checked.</p>}>
          {(user) => <Private user={user} />}
        </RequireSession>
      </>
    ),
  },
};

function App() {
  const [path, setPath] = useState(location.pathname);
  useEffect(() => {
    const moved = () => setPath(location.pathname);
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  const here = pages[path];
  useEffect(() => {
    document.title = `${here?.title ?? "Not found"} · Gatehouse and Vite`;
  }, [here]);
  return (
    <>
      <header>
        <nav aria-label="Main">
          <ul>
            {Object.entries(pages).map(([href, { title }]) => (
              <li key={href}>
                <a
                  href={href}
                  aria-current={path === href ? "page" : undefined}
                  onClick={(event) => {
                    if (event.metaKey || event.ctrlKey || event.shiftKey) return; // opens another tab
                    event.preventDefault();
                    history.pushState(null, "", href);
                    setPath(href);
                  }}
                >
                  {title}
                </a>
              </li>
            ))}
          </ul>
          <Account path={path} />
        </nav>
      </header>
      <main>{here ? here.page : <Missing />}</main>
    </>
  );
}

/** Shows who is signed in. An error is not the same as signed out: the user may still be signed in. */
function Account({ path }: { path: string }) {
  const state = useSession();
  const user = "user" in state ? state.user : undefined;
  return (
    <>
      {state.status === "error" && (
        <p role="alert">
          Your session cannot be checked.{" "}
          <button type="button" onClick={session.check}>
            Try again
          </button>
        </p>
      )}
      {user && (
        <p>
          <span>{user.name ?? user.sub}</span> <a href={logoutURL()}>Sign out</a>
        </p>
      )}
      {state.status === "signed-out" && (
        <p>
          <a href={loginURL({ returnTo: path })}>Sign in</a>
        </p>
      )}
    </>
  );
}

createRoot(document.getElementById("app")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
