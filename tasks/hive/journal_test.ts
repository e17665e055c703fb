import assert from "node:assert/strict";

const module = new URL("./journal.ts", import.meta.url).pathname;
const terminal = new URL("../terminal/command.ts", import.meta.url).pathname;

/** Runs `script` where /run is empty but for a listener in the journal's place; what it heard. */
async function heard(script: string, env: Record<string, string> = {}): Promise<string> {
  const listener = `
    import { journaled } from "${module}";
    import { CommandError } from "${terminal}";
    const socket = Deno.listen({ transport: "unix", path: "/run/systemd/journal/stdout" });
    let said = "";
    const listening = (async () => {
      for await (const connection of socket) said += await new Response(connection.readable).text();
    })();
    const failing = (error) => journaled("hive update", () => Promise.reject(error)).catch(() => {});
    ${script}
    socket.close();
    await listening;
    console.log(said);`;
  const { success, stdout, stderr } = await new Deno.Command("unshare", {
    args: [
      "--mount",
      "sh",
      "-c",
      'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && exec "$0" eval --quiet "$1"',
      Deno.execPath(),
      listener,
    ],
    env,
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

Deno.test(
  "what a command could not do is in the journal, once, and wrong usage is not",
  { ignore: Deno.uid() !== 0 },
  async () => {
    const work = 'await failing(new CommandError("It is not signed."));';
    assert.match(await heard(work), /^hive\n.*\nhive update: It is not signed\.\n/s);
    assert.equal((await heard('await failing(new CommandError("Where from?", 2));')).trim(), "");
    // Under a unit what stands on the standard error is there already.
    assert.equal((await heard(work, { JOURNAL_STREAM: "8:1" })).trim(), "");
  },
);
