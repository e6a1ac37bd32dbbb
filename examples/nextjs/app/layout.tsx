import type { Metadata, Viewport } from "next";
import { Navbar } from "@/components/navbar";
import "./style.css";

export const metadata: Metadata = {
  title: { default: "Gatehouse and Next.js", template: "%s · Gatehouse and Next.js" },
  description: "The tutorial's application behind Gatehouse",
};

export const viewport: Viewport = { colorScheme: "light dark" };

export default function Layout({ children }: { children: React.ReactNode }) {
  return (
    <html lang="en">
      <body>
        <Navbar />
        <main>{children}</main>
      </body>
    </html>
  );
}
