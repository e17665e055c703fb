/**
 * What went wrong in a run of tests, in a few lines: who reads the end of a long output, or only its end,
 * must find there which tests failed and with what words.
 */
const styles = new RegExp(`${String.fromCharCode(27)}\\[[\\d;]*m`, "g");

/** One failed test, or one file that could not be loaded. */
export interface Failure {
  /** With the steps that lead to it: `a disk fills ... writes wait`. */
  readonly name: string;
  /** What its error said, without its stack. */
  readonly said: string;
}

/** `a test ... a step => ./tests/x_test.ts:9:1` or `./tests/x_test.ts (uncaught error)`. */
const heading = /^(?:(.+) => \S+:\d+:\d+|(\S+ \(uncaught error\)))$/;

/** The failures that Deno's test runner tells of under ERRORS. */
export function failuresOf(output: string): Failure[] {
  const plain = output.replaceAll(styles, "");
  const begin = plain.lastIndexOf("\n ERRORS ");
  if (begin < 0) return [];
  const end = plain.indexOf("\n FAILURES ", begin);
  const failures: { name: string; said: string[] }[] = [];
  let inStack = false;
  for (const line of plain.slice(begin, end < 0 ? undefined : end).split("\n").slice(2)) {
    const found = heading.exec(line);
    if (found !== null) {
      failures.push({ name: found[1] ?? found[2] ?? line, said: [] });
      inStack = false;
    } else if (/^ +at \S/.test(line)) {
      inStack = true;
    } else if (!inStack) {
      failures.at(-1)?.said.push(line);
    }
  }
  return failures.map(({ name, said }) => ({ name, said: said.join("\n").trim() }));
}

/** @param most how many characters of each error are told; the rest of it stands further up */
export function tellFailures(failures: readonly Failure[], most = 1_500): string {
  return failures.map(({ name, said }) => {
    const text = said.length > most ? `${said.slice(0, most)}…` : said;
    return `  ${name}\n${text.replaceAll(/^/gm, "    ")}`;
  }).join("\n");
}
