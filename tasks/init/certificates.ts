/**
 * The node's own certificate authority and the certificate of its doors (gateway and S3).
 *
 * The authority lives ten years and its key never leaves `tls/ca.key`. The server certificate names
 * every way this machine is called; it is made anew at a start when it has less than thirty days
 * left or a name is missing. Clients trust the authority, so renewal needs nothing from them.
 */
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { Paths } from "../../services/config/node_config.ts";
import { exists, writeWhole } from "./write_file.ts";

const day_ms = 86_400_000;
const authorityLife_ms = 3_650 * day_ms;
/** Longest that all clients accept for a server certificate. */
const serverLife_ms = 825 * day_ms;
const renewBefore_ms = 30 * day_ms;
/** Clocks of small boards may be behind. */
const clockSlack_ms = day_ms;

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
const signingAlgorithm = { name: "ECDSA", hash: "SHA-256" } as const;

async function newKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

async function writeKey(path: string, key: CryptoKey): Promise<void> {
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", key);
  await writeWhole(path, `${x509.PemConverter.encode(pkcs8, "PRIVATE KEY")}\n`, 0o600);
}

async function readKey(path: string): Promise<CryptoKey> {
  const pkcs8 = x509.PemConverter.decodeFirst(await Deno.readTextFile(path));
  return await crypto.subtle.importKey("pkcs8", pkcs8, keyAlgorithm, true, ["sign"]);
}

/** What this machine is called by those who reach it. */
function namesOfThisMachine(): string[] {
  const addresses = Deno.networkInterfaces().map((one) => one.address)
    // Link-local addresses change with the interface and cannot stand in a URL without a zone.
    .filter((address) => !address.toLowerCase().startsWith("fe80:"));
  const host = Deno.hostname();
  return [
    ...new Set([
      "localhost",
      // Buckets as host names below the endpoint.
      "*.localhost",
      // Clients that take no wildcard so near the root.
      "s3.localhost",
      "*.s3.localhost",
      ...(/^[A-Za-z0-9.-]+$/.test(host) ? [host, `${host}.local`] : []),
      "127.0.0.1",
      "::1",
      ...addresses,
    ]),
  ];
}

const isAddress = (name: string) => /^[\d.]+$/.test(name) || name.includes(":");

/** `fd00::1` and `fd00:0:0:0:0:0:0:1` are one address; certificates tell it in another form than the kernel. */
function canonical(name: string): string {
  return name.includes(":")
    ? new URL(`http://[${name}]`).hostname.slice(1, -1)
    : name.toLowerCase();
}

/** Where a server's certificate and its key lie. */
type Pair = { readonly cert: string; readonly key: string };

/** Makes what is missing or runs out. @returns whether a server certificate is a new one */
export async function ensureCertificates(
  paths: Paths,
  names: readonly string[] = namesOfThisMachine(),
  now_ms: number = Date.now(),
): Promise<boolean> {
  const doors = await ensureServerCertificate(paths, paths.tls, names, now_ms);
  const control = await ensureServerCertificate(paths, paths.tls.control, names, now_ms);
  return doors || control;
}

/** The same for one server, and for the authority. */
export async function ensureServerCertificate(
  paths: Paths,
  pair: Pair,
  names: readonly string[] = namesOfThisMachine(),
  now_ms: number = Date.now(),
): Promise<boolean> {
  if (!await exists(paths.tls.ca) || !await exists(paths.tls.caKey)) {
    await makeAuthority(paths, now_ms);
  }
  const authority = new x509.X509Certificate(await Deno.readTextFile(paths.tls.ca));
  if (await stillGood(pair, authority, names, now_ms)) return false;

  const keys = await newKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serial(),
    issuer: authority.subject,
    subject: "CN=MulgaOS node",
    notBefore: new Date(now_ms - clockSlack_ms),
    notAfter: new Date(Math.min(now_ms + serverLife_ms, authority.notAfter.getTime())),
    publicKey: keys.publicKey,
    signingKey: await readKey(paths.tls.caKey),
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((name) => ({
          type: isAddress(name) ? "ip" as const : "dns" as const,
          value: name,
        })),
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(authority),
    ],
  });
  // The key first: a crash in between leaves a pair that does not match, which the next start sees.
  await writeKey(pair.key, keys.privateKey);
  await writeWhole(pair.cert, `${certificate.toString("pem")}\n`, 0o644);
  return true;
}

async function makeAuthority(paths: Paths, now_ms: number): Promise<void> {
  const keys = await newKeys();
  const mark = serial().slice(0, 8);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serial(),
    // The mark tells the authorities of several nodes apart in a trust store.
    name: `CN=MulgaOS local authority ${mark}, O=MulgaOS`,
    notBefore: new Date(now_ms - clockSlack_ms),
    notAfter: new Date(now_ms + authorityLife_ms),
    keys,
    signingAlgorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  await writeKey(paths.tls.caKey, keys.privateKey);
  await writeWhole(paths.tls.ca, `${certificate.toString("pem")}\n`, 0o644);
}

async function stillGood(
  pair: Pair,
  authority: x509.X509Certificate,
  names: readonly string[],
  now_ms: number,
): Promise<boolean> {
  try {
    const certificate = new x509.X509Certificate(await Deno.readTextFile(pair.cert));
    if (certificate.notAfter.getTime() - now_ms < renewBefore_ms) return false;
    if (!await certificate.verify({ publicKey: authority.publicKey, signatureOnly: true })) {
      return false;
    }
    const named = certificate.getExtension(x509.SubjectAlternativeNameExtension)?.names.items ?? [];
    const has = new Set(named.map((one) => canonical(one.value)));
    if (!names.every((name) => has.has(canonical(name)))) return false;
    return await matches(certificate, await readKey(pair.key));
  } catch {
    // Missing or damaged: made anew.
    return false;
  }
}

async function matches(certificate: x509.X509Certificate, key: CryptoKey): Promise<boolean> {
  const probe = crypto.getRandomValues(new Uint8Array(32));
  const signature = await crypto.subtle.sign(signingAlgorithm, key, probe);
  const publicKey = await certificate.publicKey.export(keyAlgorithm, ["verify"]);
  return await crypto.subtle.verify(signingAlgorithm, publicKey, signature, probe);
}

/** Sixteen random bytes, positive. */
function serial(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0] ?? 0) & 0x7f | 0x40;
  return bytes.toHex();
}
