import { NextResponse } from "next/server";
import { getSession, withMiddlewareAuthRequired } from "@auth0/nextjs-auth0/edge";

// Requests for the API go to Express with the access token of the session. Without a session the
// answer is 401.
export default withMiddlewareAuthRequired(async (req) => {
  const session = await getSession(req, new NextResponse());
  const headers = new Headers(req.headers);
  headers.set("Authorization", `Bearer ${session.accessToken}`);
  headers.delete("Cookie");
  const url = new URL(req.nextUrl.pathname + req.nextUrl.search, process.env.API_URL);
  return NextResponse.rewrite(url, { request: { headers } });
});

export const config = { matcher: "/api/((?!auth/).*)" };
