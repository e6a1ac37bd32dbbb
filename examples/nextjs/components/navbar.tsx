"use client";

import { loginURL, logoutURL, session } from "gatehouse-browser";
import { useSession } from "gatehouse-browser/react";
import Link from "next/link";
import { usePathname } from "next/navigation";

const pages = [
  ["/", "Home"],
  ["/public", "Public"],
  ["/private", "Private"],
] as const;

export function Navbar() {
  const path = usePathname();
  return (
    <header>
      <nav aria-label="Main">
        <ul>
          {pages.map(([href, title]) => (
            <li key={href}>
              {/* Not prefetched, because the private page needs a session. */}
              <Link href={href} prefetch={false} aria-current={path === href ? "page" : undefined}>
                {title}
              </Link>
            </li>
          ))}
        </ul>
        <Account path={path} />
      </nav>
    </header>
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
      {/* Plain links, because sign-in and sign-out leave this application. */}
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
