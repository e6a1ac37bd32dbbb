import { headers } from "next/headers";
import Image from "next/image";

export default async function Private() {
  const h = await headers();
  return (
    <main>
      <p>{process.env.SECRET_MARKER}</p>
      <p>{`session=${h.get("gatehouse-session")} subject=${h.get("gatehouse-subject")}`}</p>
      <Image src="/private/secret.png" width={64} height={64} alt="" />
    </main>
  );
}
