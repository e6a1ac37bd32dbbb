import type { Metadata } from "next";

export const metadata: Metadata = { title: "Public" };

export default function Public() {
  return (
    <>
      <h1>Public</h1>
      <p>This page needs no sign-in.</p>
    </>
  );
}
