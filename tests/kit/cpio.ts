/**
 * Writes cpio archives in the form that the Linux kernel unpacks as its initial file system ("newc").
 * Everything belongs to root and carries no time, so the same files give the same bytes.
 */

export type CpioEntry =
  & { /** Path without a leading slash. */ readonly path: string }
  & (
    | { readonly kind: "file"; readonly mode: number; readonly content: Uint8Array }
    | { readonly kind: "directory"; readonly mode: number }
    | { readonly kind: "link"; readonly target: string }
    | {
      readonly kind: "device";
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    }
  );

const typeBits = { directory: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 } as const;
const encoder = new TextEncoder();

/** The archive of `entries`; directories must come before what lies in them. */
export function cpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const parts: Uint8Array[] = [];
  let length = 0;
  const push = (bytes: Uint8Array) => {
    parts.push(bytes);
    length += bytes.length;
    const padding = (4 - length % 4) % 4;
    if (padding > 0) parts.push(new Uint8Array(padding));
    length += padding;
  };
  const member = (
    inode: number,
    path: string,
    mode: number,
    content: Uint8Array,
    [major, minor] = [0, 0],
  ) => {
    const name = encoder.encode(path + "\0");
    const fields = [
      inode,
      mode,
      0, // owner
      0, // group
      1, // links
      0, // time
      content.length,
      0, // device that holds it, major and minor
      0,
      major ?? 0,
      minor ?? 0,
      name.length,
      0, // checksum, unused in this form
    ];
    const header = "070701" + fields.map((field) => field.toString(16).padStart(8, "0")).join("");
    const head = encoder.encode(header);
    const both = new Uint8Array(head.length + name.length);
    both.set(head);
    both.set(name, head.length);
    push(both);
    if (content.length > 0) push(content);
  };
  const nothing = new Uint8Array();
  entries.forEach((entry, index) => {
    const inode = index + 1;
    if (entry.kind === "file") {
      member(inode, entry.path, typeBits.file | entry.mode, entry.content);
    } else if (entry.kind === "directory") {
      member(inode, entry.path, typeBits.directory | entry.mode, nothing);
    } else if (entry.kind === "link") {
      member(inode, entry.path, typeBits.link | 0o777, encoder.encode(entry.target));
    } else {
      member(inode, entry.path, typeBits.device | entry.mode, nothing, [entry.major, entry.minor]);
    }
  });
  member(0, "TRAILER!!!", 0, nothing);
  const archive = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    archive.set(part, at);
    at += part.length;
  }
  return archive;
}
