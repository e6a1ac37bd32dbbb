import Image from "next/image";
import Link from "next/link";

export default function Home() {
  return (
    <main>
      <h1>Public</h1>
      <Image src="/logo.png" width={64} height={64} alt="" />
      <Link href="/private">Private</Link>
    </main>
  );
}
