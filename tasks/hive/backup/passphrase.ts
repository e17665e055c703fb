/** A passphrase from a file or typed; never from the command line, which others on the machine can read. */
import { CommandError } from "../../terminal/command.ts";

const shortest = 10;

function usable(text: string, from: string): string {
  const phrase = text.replace(/\r?\n$/, "");
  if ([...phrase].length < shortest) {
    throw new CommandError(`The passphrase ${from} has fewer than ${shortest} characters.`, 2);
  }
  return phrase;
}

async function typed(question: string, unasked: string): Promise<string> {
  if (!Deno.stdin.isTerminal()) throw new CommandError(unasked, 2);
  await Deno.stderr.write(new TextEncoder().encode(question));
  Deno.stdin.setRaw(true, { cbreak: true });
  try {
    let line = "";
    const buffer = new Uint8Array(256);
    const decoder = new TextDecoder();
    while (true) {
      const got = await Deno.stdin.read(buffer);
      if (got === null) break;
      for (const letter of decoder.decode(buffer.subarray(0, got), { stream: true })) {
        if (letter === "\n" || letter === "\r") return line;
        line = letter === "\x7f" ? line.slice(0, -1) : line + letter;
      }
    }
    return line;
  } finally {
    Deno.stdin.setRaw(false);
    console.error("");
  }
}

/** @param twice asks a second time, for what is not to be mistyped */
export async function readPassphrase(file: string | undefined, twice: boolean): Promise<string> {
  if (file !== undefined) {
    let text: string;
    try {
      text = await Deno.readTextFile(file);
    } catch (cause) {
      throw new CommandError(`${file} cannot be read.`, 1, { cause });
    }
    return usable(text, `in ${file}`);
  }
  const unasked = twice
    ? "How shall it be encrypted? Say --passphrase-file FILE, or --recipient FILE with the public half of a " +
      "recovery key."
    : "It opens with a passphrase, and nobody can be asked here: say --passphrase-file FILE.";
  const phrase = usable(await typed("Passphrase: ", unasked), "typed");
  if (twice && await typed("Once more: ", unasked) !== phrase) {
    throw new CommandError("The two are not the same.", 2);
  }
  return phrase;
}
