/** Versions of releases, ordered as systemd orders them (UAPI.10), so that we and sysupdate agree. */
import { CommandError } from "../../terminal/command.ts";

/** A partition's label has 36 letters, of which `mulgaos_` and `_verity` take their part. */
const form = /^[0-9][0-9A-Za-z.~^-]{0,20}$/;

export function isVersion(text: string): boolean {
  return form.test(text);
}

/** @throws CommandError */
export function requireVersion(text: string): string {
  if (!isVersion(text)) throw new CommandError(`"${text}" is no version; one looks like 0.2.0.`, 2);
  return text;
}

/** Below zero when `a` is older. `1.0~rc1` is older than `1.0`, `1.0-2` is newer. */
export function compareVersions(a: string, b: string): number {
  let [left, right] = [a, b];
  const starts = (letter: string) => [left.startsWith(letter), right.startsWith(letter)] as const;
  while (true) {
    left = left.replace(/^[^A-Za-z0-9~^.-]+/, "");
    right = right.replace(/^[^A-Za-z0-9~^.-]+/, "");
    // The side that has the mark is the older one; only `~` counts before an end.
    const tilde = starts("~");
    if (tilde[0] !== tilde[1]) return tilde[0] ? -1 : 1;
    if (tilde[0]) [left, right] = [left.slice(1), right.slice(1)];
    if (left === "" || right === "") {
      return left === right ? 0 : left === "" ? -1 : 1;
    }
    for (const mark of ["-", "^", "."]) {
      const has = starts(mark);
      if (has[0] !== has[1]) return has[0] ? -1 : 1;
      // Straight on to the next mark, as systemd does: `0-` is newer than `0-.1`.
      if (has[0]) [left, right] = [left.slice(1), right.slice(1)];
    }
    const kind = /^\d/.test(left) || /^\d/.test(right) ? /^\d*/ : /^[A-Za-z]*/;
    const [mine, theirs] = [kind.exec(left)?.[0] ?? "", kind.exec(right)?.[0] ?? ""];
    left = left.slice(mine.length);
    right = right.slice(theirs.length);
    const order = /\d/.test(mine + theirs)
      // A number is newer than a word.
      ? mine === "" || theirs === "" ? mine.length - theirs.length : numberOrder(mine, theirs)
      : mine < theirs
      ? -1
      : mine > theirs
      ? 1
      : 0;
    if (order !== 0) return Math.sign(order);
  }
}

function numberOrder(a: string, b: string): number {
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}
