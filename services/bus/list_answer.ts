/**
 * An answer whose long list is made of items that were serialized before: a page of records that have
 * not changed since somebody last asked costs no serialization, at neither end.
 *
 * On the wire it is ordinary JSON, which any asker may parse; a header says where each item lies and
 * gives it a key that stands for its bytes, so that whoever turns items into another form (the
 * gateway, into XML) can remember them by it. A key is a digest: equal keys mean equal items. The
 * whole answer has one too: an asker who says which answer it has is told when it is still the answer.
 */
import { createHash } from "node:crypto";

/** One item of the list, serialized. */
export interface ListItem {
  readonly key: string;
  readonly json: Uint8Array<ArrayBuffer>;
}

export const itemsHeader = "mulga-items";
/** In a question: the digest of the answer that the asker has. In an answer: its own. */
export const digestHeader = "mulga-digest";

const digestOf = (content: string | Uint8Array) =>
  createHash("sha256").update(content).digest("base64url").slice(0, 24);

const encoder = new TextEncoder();
const comma = ",".charCodeAt(0);

export function listItem(value: unknown): ListItem {
  const json = encoder.encode(JSON.stringify(value));
  return { json, key: digestOf(json) };
}

/** An `Output` whose member `member` is the list of `items`, and which has `rest` besides. */
export class ListAnswer<Output> {
  declare readonly _type?: Output;

  constructor(
    readonly member: keyof Output & string,
    readonly items: readonly ListItem[],
    readonly rest: Readonly<Record<string, unknown>> = {},
  ) {}

  get digest(): string {
    const keys = this.items.map((item) => item.key);
    return digestOf(JSON.stringify([this.member, this.rest, keys.join(" ")]));
  }

  /** The message's bytes, and what its header says of its items. */
  encode(): { readonly data: Uint8Array<ArrayBuffer>; readonly header: string } {
    const opening = encoder.encode(`{${JSON.stringify(this.member)}:[`);
    const rest = JSON.stringify(this.rest).slice(1);
    const closing = encoder.encode(rest === "}" ? "]}" : `],${rest}`);
    let size = opening.length + closing.length + Math.max(0, this.items.length - 1);
    for (const item of this.items) size += item.json.length;
    const data = new Uint8Array(size);
    data.set(opening);
    let at = opening.length;
    const header = [`${this.member} ${at}`];
    for (const [index, { json, key }] of this.items.entries()) {
      if (index > 0) data[at++] = comma;
      data.set(json, at);
      at += json.length;
      header.push(`${json.length} ${key}`);
    }
    data.set(closing, at);
    return { data, header: header.join(" ") };
  }
}

/** Where the items of an answer lie. */
export interface ListIndex {
  readonly member: string;
  /** Of the first item. */
  readonly start: number;
  /** Behind the last item. */
  readonly end: number;
  readonly lengths: readonly number[];
  readonly keys: readonly string[];
}

/** Reads the header; nothing when there is none, or it does not fit the message. */
export function readListIndex(header: string, size: number): ListIndex | undefined {
  if (header === "") return undefined;
  const [member = "", first = "", ...pairs] = header.split(" ");
  const start = Number(first);
  const lengths: number[] = [];
  const keys: string[] = [];
  let end = start;
  for (let at = 0; at < pairs.length; at += 2) {
    const length = Number(pairs[at]);
    lengths.push(length);
    keys.push(pairs[at + 1] ?? "");
    end += length + (at > 0 ? 1 : 0);
  }
  return Number.isSafeInteger(end) && start > 0 && end < size
    ? { member, start, end, lengths, keys }
    : undefined;
}
