/**
 * Patterns with `*` for any run of characters and `?` for one, as policies and filters have them.
 *
 * Matching takes time proportional to pattern times text at worst: whoever writes patterns or names things
 * cannot make it explode, as a regular expression would.
 */

export const anyText = Symbol("*");
export const anyCharacter = Symbol("?");
/** A character that stands for itself, or one of the two. */
export type Token = string | typeof anyText | typeof anyCharacter;

export function tokensOf(text: string): Token[] {
  return Array.from(text, (c) => c === "*" ? anyText : c === "?" ? anyCharacter : c);
}

/** @param text its characters, each by itself */
export function matchTokens(tokens: readonly Token[], text: readonly string[]): boolean {
  let t = 0;
  let p = 0;
  let star = -1;
  let mark = 0;
  while (t < text.length) {
    const token = tokens[p];
    if (token === anyText) {
      star = p++;
      mark = t;
    } else if (token !== undefined && (token === anyCharacter || token === text[t])) {
      p++;
      t++;
    } else if (star >= 0) {
      // The last `*` takes one character more; an earlier one never needs to.
      p = star + 1;
      t = ++mark;
    } else return false;
  }
  while (tokens[p] === anyText) p++;
  return p === tokens.length;
}
