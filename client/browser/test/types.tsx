// What the types of the bindings accept and refuse. e2e compiles this file beside the installed package.

import { Code, createClient, type Interceptor } from "@connectrpc/connect";
import type { ReactNode } from "react";
import { createSession, LoginRequiredError, type Failed, type SessionError, type State, type User } from "gatehouse-browser";
import { createTransport, loginRequired } from "gatehouse-browser/connect";
import { RequireSession, SessionProvider, useSession, useTimeLeft, UserProvider, useUser, type Slot } from "gatehouse-browser/react";

const session = createSession();
const log: Interceptor = (next) => (request) => next(request);

export function Page({ user, children }: { user: User | null; children: ReactNode }) {
  const state: State = useSession();
  const known = useUser();
  const left: number | undefined = useTimeLeft();
  const error: SessionError | undefined = known.error;
  const name: string | undefined = known.user?.name;
  const slot: Slot<Failed> = ({ retryAt, user }) => <i>{retryAt}, {user?.sub}</i>;
  // @ts-expect-error: only a signed-in state has an end
  void state.expiresAt;
  // @ts-expect-error: a user may be unknown
  void known.user.name;
  return (
    <SessionProvider user={user}>
      <SessionProvider session={session} />
      <UserProvider user={undefined}>{children}</UserProvider>
      <RequireSession loading="…" error={slot} signedOut={({ reason }) => reason ?? null}>
        {(user) => <b>{user.sub}{name}{left}{error?.status}{known.isLoading && "…"}</b>}
      </RequireSession>
      <RequireSession error={null}>{children}</RequireSession>
      {/* @ts-expect-error: an error is a state or a node */}
      <RequireSession error={(user: User) => user.sub} />
    </SessionProvider>
  );
}

export const transport = createTransport({ session, interceptors: [log], useHttpGet: false, defaultTimeoutMs: 1000 });
createTransport();
// @ts-expect-error: requests are sent by the session
createTransport({ fetch });
export const why: "signed-out" | "step-up" | "refused" | undefined = loginRequired(new Error("no"))?.kind;
export const known: LoginRequiredError | undefined = loginRequired(Code.Unauthenticated);
void createClient;
