/**
 * What nodes tell each other by multicast: one datagram of JSON, signed by the node's own key.
 *
 * The form carries a number, so that later releases may say more: members that this release does not
 * know are ignored, another number is not read. The signature covers every byte before it, so nothing
 * has to be written anew to check it. A datagram proves which key sent it and nothing else: who is
 * believed, and to what end, is decided elsewhere.
 */
import { capabilities, type Capability } from "./names.ts";
import { type NodeKey, verifies } from "./node_key.ts";

const announcementFormat = 1;
/** Fits the smallest packet that an Ethernet carries whole. */
export const longestAnnouncement_bytes = 1_200;

/** `unclaimed` has no cluster yet; `alone` is a cluster of one. */
export type NodeState = "unclaimed" | "alone" | "member";

export interface Announcement {
  readonly format: typeof announcementFormat;
  /** Empty while unclaimed. */
  readonly cluster_id: string;
  readonly node_id: string;
  /** Where the control server answers: address and port. */
  readonly addr: string;
  readonly host: string;
  /** Release of MulgaOS. */
  readonly version: string;
  readonly caps: readonly Capability[];
  readonly state: NodeState;
  /** Seconds since 1970 by the sender's clock. */
  readonly ts: number;
  /** ed25519 public key, base64. */
  readonly key: string;
}

/** Why a datagram was not taken. */
export type Refusal = "too_large" | "malformed" | "other_format" | "bad_signature";

export type Heard =
  | { readonly announcement: Announcement }
  | { readonly refused: Refusal };

const encoder = new TextEncoder();
const signatureOpens = ',"sig":"ed25519:';
/** 64 bytes of base64. */
const signature_characters = 88;
const tail_bytes = signatureOpens.length + signature_characters + 2;

/** The datagram. @throws RangeError when it would be too large */
export async function encodeAnnouncement(
  what: Omit<Announcement, "format" | "key">,
  key: NodeKey,
): Promise<Uint8Array> {
  const announcement: Announcement = { format: announcementFormat, ...what, key: key.publicKey };
  const signed = JSON.stringify(announcement).slice(0, -1);
  const signature = await key.sign(encoder.encode(signed));
  const datagram = encoder.encode(`${signed}${signatureOpens}${signature.toBase64()}"}`);
  if (datagram.length > longestAnnouncement_bytes) {
    throw new RangeError(`an announcement of ${datagram.length} bytes is too large`);
  }
  return datagram;
}

/** Reads a datagram from anybody. Never throws. */
export async function decodeAnnouncement(datagram: Uint8Array): Promise<Heard> {
  if (datagram.length > longestAnnouncement_bytes) return { refused: "too_large" };
  const split = datagram.length - tail_bytes;
  if (split <= 0) return { refused: "malformed" };
  const text = textOf(datagram);
  const value = text === undefined ? undefined : objectOf(text);
  if (value === undefined) return { refused: "malformed" };
  if (value["format"] !== announcementFormat) {
    return { refused: Number.isInteger(value["format"]) ? "other_format" : "malformed" };
  }
  const announcement = announcementOf(value);
  if (announcement === undefined) return { refused: "malformed" };
  const tail = new TextDecoder().decode(datagram.subarray(split));
  if (!tail.startsWith(signatureOpens) || !tail.endsWith('"}')) return { refused: "malformed" };
  let signature: Uint8Array<ArrayBuffer>;
  try {
    signature = Uint8Array.fromBase64(tail.slice(signatureOpens.length, -2));
  } catch {
    return { refused: "malformed" };
  }
  // Over the bytes as they came, and `sig` only once, at the end: no second reading is possible.
  const signed = datagram.slice(0, split);
  if (!await verifies(announcement.key, signature, signed)) return { refused: "bad_signature" };
  return { announcement };
}

function textOf(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}

function objectOf(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? value as Readonly<Record<string, unknown>>
      : undefined;
  } catch {
    // Not ours; so deep that it cannot be read is not ours either.
    return undefined;
  }
}

const forms = {
  cluster_id: /^(c-[0-9a-z]{1,32})?$/,
  node_id: /^n-[0-9a-z-]{1,32}$/,
  addr: /^([0-9.]{7,15}|\[[0-9a-fA-F:]{2,39}\]):\d{1,5}$/,
  host: /^[A-Za-z0-9.-]{1,253}$/,
  version: /^[0-9A-Za-z.+~-]{1,64}$/,
  key: /^[A-Za-z0-9+/]{43}=$/,
} as const;

const states: readonly unknown[] = ["unclaimed", "alone", "member"] satisfies NodeState[];

function announcementOf(value: Readonly<Record<string, unknown>>): Announcement | undefined {
  for (const [name, form] of Object.entries(forms)) {
    const text = value[name];
    if (typeof text !== "string" || !form.test(text)) return undefined;
  }
  const { ts, caps, state } = value;
  if (typeof ts !== "number" || !Number.isSafeInteger(ts) || ts < 0) return undefined;
  if (!states.includes(state)) return undefined;
  if (!Array.isArray(caps) || caps.length > 32) return undefined;
  // What a later release can do is no reason not to hear it.
  const known = capabilities.filter((one) => caps.includes(one));
  const { cluster_id, node_id, addr, host, version, key } = value as unknown as Announcement;
  return {
    format: announcementFormat,
    cluster_id,
    node_id,
    addr,
    host,
    version,
    caps: known,
    state: state as NodeState,
    ts,
    key,
  };
}
