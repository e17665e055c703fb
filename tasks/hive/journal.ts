/**
 * What the system's own work says when it fails, in the journal too: whoever looks later was not there when
 * it stood on the screen. Under a unit the standard error is the journal already, and elsewhere there may
 * be none; neither keeps a command from its end.
 */
import { exists } from "../init/write_file.ts";

const journal = "/run/systemd/journal/stdout";

async function tellJournal(text: string): Promise<void> {
  if (Deno.env.has("JOURNAL_STREAM") || !await exists(journal)) return;
  try {
    const child = new Deno.Command("systemd-cat", {
      args: ["--identifier=hive", "--priority=warning"],
      stdin: "piped",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(`${text}\n`));
    await writer.close();
    await child.status;
  } catch {
    // The operator reads it on the screen.
  }
}

/** Runs a command; what it cannot do is in the journal. Wrong usage is not. */
export async function journaled<T>(name: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const exitCode = error instanceof Error && "exitCode" in error ? error.exitCode : 1;
    if (error instanceof Error && exitCode === 1) await tellJournal(`${name}: ${error.message}`);
    throw error;
  }
}
