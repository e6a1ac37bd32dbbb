"use client";

import Link from "next/link";
import { usePathname } from "next/navigation";
import { useUser } from "@/lib/use-user";

const pages = [
  ["/", "Home"],
  ["/public", "Public"],
  ["/private", "Private"],
] as const;

export function Navbar() {
  const path = usePathname();
  const user = useUser();
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
        {/* Plain links, because login and logout leave this application. */}
        {user === undefined ? null : user ? (
          <p>
            <span>{user.name ?? user.sub}</span> <a href="/api/auth/logout">Sign out</a>
          </p>
        ) : (
          <p>
            <a href={`/api/auth/login?returnTo=${encodeURIComponent(path)}`}>Sign in</a>
          </p>
        )}
      </nav>
    </header>
  );
}
