/**
 * The NBD negotiation, fixed newstyle, as a pure function of bytes: what a client sends goes in, answers
 * and a verdict come out. Nothing here touches a socket, so that the parser can be fuzzed. Every length is
 * checked before it is believed, and an option that is not understood is refused without ending anything.
 */
import {
  allocationContext,
  type Export,
  maximumPayload,
  nbdMagic,
  transmissionFlags,
} from "./nbd_protocol.ts";

const option = {
  exportName: 1,
  abort: 2,
  list: 3,
  info: 6,
  go: 7,
  structuredReply: 8,
  listMetaContext: 9,
  setMetaContext: 10,
} as const;
const reply = { ack: 1, server: 2, info: 3, metaContext: 4 } as const;
const refuse = {
  unsupported: 0x8000_0001,
  invalid: 0x8000_0003,
  unknown: 0x8000_0006,
} as const;
const infoKind = { export: 0, name: 1, blockSize: 3 } as const;

/** Longest option that is read at all; the protocol's own names end at 4096 bytes. */
const maximumOption = 8192;

export interface Negotiated {
  /** Bytes of the input that were used. */
  readonly used: number;
  readonly answers: Uint8Array[];
  /** What comes next: more options, requests, or the end of this connection. */
  readonly next: "more" | "transmit" | "close";
}

/** What the server says first. */
export function hello(): Uint8Array {
  const bytes = new Uint8Array(18);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, nbdMagic.hello);
  view.setBigUint64(8, nbdMagic.option);
  view.setUint16(16, 3); // fixed newstyle, no zeroes
  return bytes;
}

function optionReply(
  to: number,
  kind: number,
  payload: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const bytes = new Uint8Array(20 + payload.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, nbdMagic.optionReply);
  view.setUint32(8, to);
  view.setUint32(12, kind);
  view.setUint32(16, payload.length);
  bytes.set(payload, 20);
  return bytes;
}

function exportInfo(of: Export, structured: boolean): Uint8Array {
  const bytes = new Uint8Array(12);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, infoKind.export);
  view.setBigUint64(2, BigInt(of.sizeBytes));
  view.setUint16(10, transmissionFlags(of, structured));
  return bytes;
}

function blockSizeInfo(): Uint8Array {
  const bytes = new Uint8Array(14);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, infoKind.blockSize);
  view.setUint32(2, 1); // any alignment works; whole blocks work best
  view.setUint32(6, 4096);
  view.setUint32(10, maximumPayload);
  return bytes;
}

function nameInfo(of: Export): Uint8Array {
  const name = new TextEncoder().encode(of.name);
  const bytes = new Uint8Array(2 + name.length);
  bytes[1] = infoKind.name;
  bytes.set(name, 2);
  return bytes;
}

function metaContext(): Uint8Array {
  const name = new TextEncoder().encode(allocationContext.name);
  const bytes = new Uint8Array(4 + name.length);
  new DataView(bytes.buffer).setUint32(0, allocationContext.id);
  bytes.set(name, 4);
  return bytes;
}

/** A name with its length in front of it, and where it ends; undefined when that is a lie. */
function sizedName(data: Uint8Array, at: number): { name: Uint8Array; end: number } | undefined {
  if (at + 4 > data.length) return undefined;
  const length = new DataView(data.buffer, data.byteOffset + at, 4).getUint32(0);
  const end = at + 4 + length;
  return end > data.length ? undefined : { name: data.subarray(at + 4, end), end };
}

/** One client's negotiation. */
export class Negotiation {
  #greeted = false;
  #noZeroes = false;
  #structured = false;
  #allocation = false;

  constructor(readonly served: Export) {}

  /** Reads are to be answered in chunks. */
  get structured(): boolean {
    return this.#structured;
  }

  /** The client may ask which parts are allocated. */
  get allocation(): boolean {
    return this.#allocation;
  }

  /** Takes what has come so far; call again with the rest and more. */
  feed(input: Uint8Array): Negotiated {
    const answers: Uint8Array[] = [];
    const view = new DataView(input.buffer, input.byteOffset, input.byteLength);
    let at = 0;
    if (!this.#greeted) {
      if (input.length < 4) return { used: 0, answers, next: "more" };
      const flags = view.getUint32(0);
      // Bit 0: fixed newstyle, which a client must know; bit 1: no zeroes. Others are not ours.
      if ((flags & 1) === 0 || (flags & ~3) !== 0) return { used: 4, answers, next: "close" };
      this.#noZeroes = (flags & 2) !== 0;
      this.#greeted = true;
      at = 4;
    }
    while (input.length - at >= 16) {
      const length = view.getUint32(at + 12);
      if (view.getBigUint64(at) !== nbdMagic.option || length > maximumOption) {
        return { used: at, answers, next: "close" };
      }
      if (input.length - at < 16 + length) break;
      const kind = view.getUint32(at + 8);
      const data = input.subarray(at + 16, at + 16 + length);
      at += 16 + length;
      const next = this.#option(kind, data, answers);
      if (next !== "more") return { used: at, answers, next };
    }
    return { used: at, answers, next: "more" };
  }

  #isServed(name: Uint8Array): boolean {
    // The empty name asks for the default export, and there is one only.
    return name.length === 0 || new TextDecoder().decode(name) === this.served.name;
  }

  #option(kind: number, data: Uint8Array, answers: Uint8Array[]): Negotiated["next"] {
    switch (kind) {
      case option.exportName: {
        if (!this.#isServed(data)) return "close";
        const bytes = new Uint8Array(this.#noZeroes ? 10 : 134);
        const view = new DataView(bytes.buffer);
        view.setBigUint64(0, BigInt(this.served.sizeBytes));
        view.setUint16(8, transmissionFlags(this.served, this.#structured));
        answers.push(bytes);
        return "transmit";
      }
      case option.abort:
        answers.push(optionReply(kind, reply.ack));
        return "close";
      case option.list: {
        if (data.length > 0) {
          answers.push(optionReply(kind, refuse.invalid));
          return "more";
        }
        const name = new TextEncoder().encode(this.served.name);
        const payload = new Uint8Array(4 + name.length);
        new DataView(payload.buffer).setUint32(0, name.length);
        payload.set(name, 4);
        answers.push(optionReply(kind, reply.server, payload), optionReply(kind, reply.ack));
        return "more";
      }
      case option.info:
      case option.go:
        return this.#describe(kind, data, answers);
      case option.structuredReply:
        if (data.length === 0) this.#structured = true;
        answers.push(optionReply(kind, data.length === 0 ? reply.ack : refuse.invalid));
        return "more";
      case option.listMetaContext:
      case option.setMetaContext:
        answers.push(...this.#contexts(kind, data));
        return "more";
      default:
        answers.push(optionReply(kind, refuse.unsupported));
        return "more";
    }
  }

  /** What is chosen by SET takes the place of what was chosen before, whatever becomes of it. */
  #contexts(kind: number, data: Uint8Array): Uint8Array[] {
    const sets = kind === option.setMetaContext;
    if (sets) this.#allocation = false;
    const asked = sizedName(data, 0);
    if (!this.#structured || asked === undefined || asked.end + 4 > data.length) {
      return [optionReply(kind, refuse.invalid)];
    }
    const count = new DataView(data.buffer, data.byteOffset + asked.end, 4).getUint32(0);
    let at = asked.end + 4;
    // A list without questions asks for all there is.
    let wanted = !sets && count === 0;
    for (let i = 0; i < count; i++) {
      const query = sizedName(data, at);
      if (query === undefined) return [optionReply(kind, refuse.invalid)];
      at = query.end;
      const text = new TextDecoder().decode(query.name);
      wanted ||= text === allocationContext.name || (!sets && text === "base:");
    }
    if (at !== data.length) return [optionReply(kind, refuse.invalid)];
    if (!this.#isServed(asked.name)) return [optionReply(kind, refuse.unknown)];
    if (sets) this.#allocation = wanted;
    const ack = optionReply(kind, reply.ack);
    return wanted ? [optionReply(kind, reply.metaContext, metaContext()), ack] : [ack];
  }

  #describe(kind: number, data: Uint8Array, answers: Uint8Array[]): Negotiated["next"] {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const nameLength = data.length >= 6 ? view.getUint32(0) : -1;
    const wantedAt = 4 + nameLength;
    if (
      nameLength < 0 || wantedAt + 2 > data.length ||
      data.length !== wantedAt + 2 + view.getUint16(wantedAt) * 2
    ) {
      answers.push(optionReply(kind, refuse.invalid));
      return "more";
    }
    if (!this.#isServed(data.subarray(4, wantedAt))) {
      answers.push(optionReply(kind, refuse.unknown));
      return "more";
    }
    answers.push(optionReply(kind, reply.info, exportInfo(this.served, this.#structured)));
    for (let at = wantedAt + 2; at < data.length; at += 2) {
      const wanted = view.getUint16(at);
      if (wanted === infoKind.name) {
        answers.push(optionReply(kind, reply.info, nameInfo(this.served)));
      } else if (wanted === infoKind.blockSize) {
        answers.push(optionReply(kind, reply.info, blockSizeInfo()));
      }
    }
    answers.push(optionReply(kind, reply.ack));
    return kind === option.go ? "transmit" : "more";
  }
}
