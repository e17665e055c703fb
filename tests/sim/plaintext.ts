/**
 * Whether anything that a guest wrote lies readable in bytes: guests of the simulation fill what they write
 * with one word over and over, and nothing that is sealed looks like that.
 */

/** Words that follow each other and are the same: more than chance or a table makes. */
const run = 16;

/** The first word that is there over and over, other than zero; undefined when there is none. */
export function plaintextIn(bytes: Uint8Array): number | undefined {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >> 2);
  // In any run of twice the length one of the words looked at begins a run of that length.
  for (let at = 0; at + run <= words.length; at += run) {
    const word = words[at] as number;
    if (word === 0 || words[at + run - 1] !== word) continue;
    if (words.subarray(at, at + run).every((each) => each === word)) return word;
  }
  return undefined;
}
