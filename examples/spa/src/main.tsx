import { StrictMode, useEffect, useState, type ReactNode } from "react";
import { createRoot } from "react-dom/client";
import { Home, Missing, Private, Public } from "./pages";
import { login, useUser, type User } from "./user";
import "./style.css";

// A router for three pages. Gatehouse serves index.html at every path that is not a file, so that
// each page can be opened directly.
const pages: Record<string, { title: string; page: (user: User | null) => ReactNode }> = {
  "/": { title: "Home", page: (user) => <Home user={user} /> },
  "/public": { title: "Public", page: () => <Public /> },
  "/private": { title: "Private", page: (user) => (user ? <Private user={user} /> : null) },
};

function App() {
  const [path, setPath] = useState(location.pathname);
  const user = useUser();
  useEffect(() => {
    const moved = () => setPath(location.pathname);
    addEventListener("popstate", moved);
    return () => removeEventListener("popstate", moved);
  }, []);
  const here = pages[path];
  useEffect(() => {
    document.title = `${here?.title ?? "Not found"} · Gatehouse and Vite`;
    // If the page was opened directly, Gatehouse has redirected to the login. A click within the
    // application reaches no server, and shows only what the API returns.
    if (path === "/private" && user === null) location.assign(login(path));
  }, [path, user]);
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
          {user === undefined ? null : user ? (
            <p>
              <span>{user.name ?? user.sub}</span> <a href="/api/auth/logout">Sign out</a>
            </p>
          ) : (
            <p>
              <a href={login(path)}>Sign in</a>
            </p>
          )}
        </nav>
      </header>
      <main>{here ? user !== undefined && here.page(user) : <Missing />}</main>
    </>
  );
}

createRoot(document.getElementById("app")!).render(
  <StrictMode>
    <App />
  </StrictMode>,
);
