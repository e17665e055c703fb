/**
 * The endorsement keys of a TPM 2.0: asked for with the templates of the TCG's EK credential profile
 * (L-1 for RSA 2048, H-3 for P-384), so that whoever makes them inside the guest gets the same keys, and
 * shown in the two forms of GetInstanceTpmEkPub.
 */
import { createPublicKey } from "node:crypto";
import { joined } from "../../aws/bytes.ts";

export const endorsementKeyTypes = ["rsa-2048", "ecc-sec-p384"] as const;
export type EndorsementKeyType = (typeof endorsementKeyTypes)[number];

/** Sends a command to the TPM and answers its response. */
export type TpmChannel = (command: Uint8Array) => Promise<Uint8Array>;

const hex = (text: string) => Uint8Array.fromHex(text.replace(/\s/g, ""));

/** TPMT_PUBLIC of each template. */
const templates: Readonly<Record<EndorsementKeyType, Uint8Array>> = {
  "rsa-2048": hex(
    `0001 000b 000300b2
     0020 837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa
     0006 0080 0043 0010 0800 00000000 0100 ${"00".repeat(256)}`,
  ),
  "ecc-sec-p384": hex(
    `0023 000c 000300f2
     0030 b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12
     0006 0100 0043 0010 0004 0010 0000 0000`,
  ),
};

function command(code: string, body: string, sessions = false): Uint8Array {
  const rest = hex(body);
  const head = hex(`${sessions ? "8002" : "8001"} 00000000 ${code}`);
  const bytes = joined([head, rest]);
  new DataView(bytes.buffer).setUint32(2, bytes.length);
  return bytes;
}

/** TPM2_CreatePrimary in the endorsement hierarchy, whose authorisation is empty. */
function createPrimary(template: Uint8Array): Uint8Array {
  const size = template.length.toString(16).padStart(4, "0");
  return command(
    "00000131",
    `4000000b 00000009 40000009 0000 00 0000 0004 0000 0000 ${size} ${template.toHex()} 0000 00000000`,
    true,
  );
}

const startup = command("00000144", "0000");
const shutdown = command("00000145", "0000");
const flush = (handle: number) => command("00000165", handle.toString(16).padStart(8, "0"));

/** TPM_RC_INITIALIZE: it was started already. */
const alreadyStarted = 0x100;

async function ask(channel: TpmChannel, request: Uint8Array, ...allowed: number[]) {
  const response = await channel(request);
  const view = new DataView(response.buffer, response.byteOffset, response.byteLength);
  const code = response.length < 10 ? -1 : view.getUint32(6);
  if (code !== 0 && !allowed.includes(code)) {
    throw new Error(`the TPM refuses a command with 0x${code.toString(16)}`);
  }
  return { response, view };
}

/** TPMT_PUBLIC of the endorsement keys, base64, as the TPM behind the channel has them. */
export async function readEndorsementKeys(
  channel: TpmChannel,
): Promise<Readonly<Record<EndorsementKeyType, string>>> {
  await ask(channel, startup, alreadyStarted);
  const read = async (type: EndorsementKeyType) => {
    const { response, view } = await ask(channel, createPrimary(templates[type]));
    // Head (10), handle (4), length of the parameters (4), then the public part with its length.
    const length = view.getUint16(18);
    const key = response.slice(20, 20 + length);
    if (key.length !== length || length === 0) throw new Error("the TPM's answer is cut short");
    await ask(channel, flush(view.getUint32(10)));
    return key.toBase64();
  };
  const keys = { "rsa-2048": await read("rsa-2048"), "ecc-sec-p384": await read("ecc-sec-p384") };
  await ask(channel, shutdown);
  return keys;
}

/** SubjectPublicKeyInfo, base64. @param key TPMT_PUBLIC, base64 */
export function derOfKey(type: EndorsementKeyType, key: string): string {
  const bytes = Uint8Array.fromBase64(key);
  const view = new DataView(bytes.buffer);
  // After type, name's algorithm and attributes comes the policy, whose length it says itself.
  const parameters = 10 + view.getUint16(8);
  const part = (at: number) => bytes.subarray(at + 2, at + 2 + view.getUint16(at));
  const url = (of: Uint8Array) => of.toBase64({ alphabet: "base64url", omitPadding: true });
  const jwk = (() => {
    if (type === "rsa-2048") {
      const unique = parameters + 6 + 2 + 2 + 4;
      return { kty: "RSA", e: "AQAB", n: url(part(unique)) };
    }
    const x = parameters + 6 + 2 + 2 + 2;
    return { kty: "EC", crv: "P-384", x: url(part(x)), y: url(part(x + 2 + view.getUint16(x))) };
  })();
  const der = createPublicKey({ key: jwk, format: "jwk" }).export({ type: "spki", format: "der" });
  return new Uint8Array(der).toBase64();
}
