/**
 * What NBD clients of other machines say before anybody knows which volume they want, as a pure function of
 * bytes. In the clear there is one thing to be had: TLS. Inside TLS options are answered until one names an
 * export; from there on the volume's own engine negotiates, and is told what was agreed so far.
 */
import { joined } from "../../aws/bytes.ts";

const nbdOption = { exportName: 1, abort: 2, startTls: 5, structuredReply: 8 } as const;
/** Their data begins with an export's name and its length. */
const naming: ReadonlySet<number> = new Set([6, 7, 9, 10]);
const answer = {
  ack: 1,
  unsupported: 0x8000_0001,
  policy: 0x8000_0002,
  invalid: 0x8000_0003,
  tlsRequired: 0x8000_0005,
  unknown: 0x8000_0006,
} as const;
const list = 3;
const optionMagic = 0x49484156454f5054n;
const headBytes = 16;
const longestOption = 8192;
/** More options than any client needs. */
const mostOptions = 64;

export type RemoteStep =
  | { readonly next: "more" | "close" | "tls"; readonly answers: Uint8Array[] }
  /** `input` is what the engine is to be told, from its greeting on. */
  | {
    readonly next: "volume";
    readonly answers: Uint8Array[];
    readonly name: string;
    /** The option that named it. */
    readonly option: number;
    readonly input: Uint8Array<ArrayBuffer>;
    /** Bytes of its answers to that which the client knows already. */
    readonly known: number;
  };

export function optionReply(option: number, kind: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(20);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 0x3e889045565a9n);
  view.setUint32(8, option);
  view.setUint32(12, kind);
  return bytes;
}

export const unknownExport = (option: number) => optionReply(option, answer.unknown);

function option(kind: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(headBytes);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, optionMagic);
  view.setUint32(8, kind);
  return bytes;
}

export class RemoteNegotiation {
  #flags: Uint8Array<ArrayBuffer> | undefined;
  #structured = false;
  #options = 0;
  #kept: Uint8Array<ArrayBuffer> = new Uint8Array(0);
  #isOver = false;
  /** TLS has begun. */
  isSecure = false;

  /** Of who was turned away nothing more is kept: bytes may come until the connection is closed. */
  feed(bytes: Uint8Array): RemoteStep {
    if (this.#isOver) return { next: "close", answers: [] };
    const step = this.#heard(bytes);
    if (step.next === "close") {
      this.#isOver = true;
      this.#kept = new Uint8Array(0);
    }
    return step;
  }

  #heard(bytes: Uint8Array): RemoteStep {
    this.#kept = joined([this.#kept, bytes]);
    const answers: Uint8Array[] = [];
    if (this.#flags === undefined) {
      if (this.#kept.length < 4) return { next: "more", answers };
      const flags = new DataView(this.#kept.buffer).getUint32(0);
      if ((flags & 1) === 0 || (flags & ~3) !== 0) return { next: "close", answers };
      this.#flags = this.#kept.slice(0, 4);
      this.#kept = this.#kept.slice(4);
    }
    while (this.#kept.length >= headBytes) {
      const view = new DataView(this.#kept.buffer);
      const length = view.getUint32(12);
      if (
        view.getBigUint64(0) !== optionMagic || length > longestOption ||
        this.#options++ > mostOptions
      ) return { next: "close", answers };
      if (this.#kept.length < headBytes + length) {
        this.#options--;
        break;
      }
      const kind = view.getUint32(8);
      const data = this.#kept.slice(headBytes, headBytes + length);
      const whole = this.#kept;
      this.#kept = this.#kept.slice(headBytes + length);
      if (kind === nbdOption.abort) {
        answers.push(optionReply(kind, answer.ack));
        return { next: "close", answers };
      }
      if (!this.isSecure) {
        if (kind === nbdOption.exportName) return { next: "close", answers };
        if (kind !== nbdOption.startTls) answers.push(optionReply(kind, answer.tlsRequired));
        else if (length > 0) answers.push(optionReply(kind, answer.invalid));
        else {
          // What came in the clear behind it may be somebody else's.
          if (this.#kept.length > 0) return { next: "close", answers };
          answers.push(optionReply(kind, answer.ack));
          return { next: "tls", answers };
        }
        continue;
      }
      if (kind === nbdOption.exportName || naming.has(kind)) {
        const name = kind === nbdOption.exportName ? data : nameIn(data);
        if (name === undefined) {
          answers.push(optionReply(kind, answer.invalid));
          continue;
        }
        const agreed = this.#structured ? [option(nbdOption.structuredReply)] : [];
        return {
          next: "volume",
          answers,
          name: new TextDecoder().decode(name),
          option: kind,
          input: joined([this.#flags, ...agreed, whole]),
          // The greeting, and the acknowledgement of what was agreed.
          known: 18 + agreed.length * 20,
        };
      }
      answers.push(this.#answer(kind, length));
    }
    return { next: "more", answers };
  }

  #answer(kind: number, length: number): Uint8Array {
    if (kind === nbdOption.structuredReply && length === 0) {
      this.#structured = true;
      return optionReply(kind, answer.ack);
    }
    // Which volumes there are is not told to whoever wants one of them.
    return optionReply(kind, kind === list ? answer.policy : answer.unsupported);
  }
}

function nameIn(data: Uint8Array<ArrayBuffer>): Uint8Array | undefined {
  if (data.length < 4) return undefined;
  const length = new DataView(data.buffer).getUint32(0);
  return 4 + length > data.length ? undefined : data.subarray(4, 4 + length);
}
