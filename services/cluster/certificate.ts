/** The control server's certificate: what it names, and how people and curl recognise it. */
import { createHash, X509Certificate } from "node:crypto";

export interface ServerCertificate {
  readonly cert: string;
  readonly key: string;
  /** For `curl --pinnedpubkey`. */
  readonly pin: string;
  /** SHA-256 as browsers show it. */
  readonly fingerprint: string;
  names(address: string): boolean;
}

export async function readCertificate(
  files: { readonly cert: string; readonly key: string },
): Promise<ServerCertificate> {
  const [cert, key] = await Promise.all([
    Deno.readTextFile(files.cert),
    Deno.readTextFile(files.key),
  ]);
  const parsed = new X509Certificate(cert);
  const spki = parsed.publicKey.export({ type: "spki", format: "der" });
  return {
    cert,
    key,
    pin: `sha256//${createHash("sha256").update(spki).digest("base64")}`,
    fingerprint: parsed.fingerprint256,
    names: (address) => parsed.checkIP(address) !== undefined,
  };
}
