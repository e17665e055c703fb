import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";

const module = new URL("./progress.ts", import.meta.url).href;

/** What a program says on a terminal of its own. */
async function onTerminal(program: string): Promise<string> {
  const directory = await Deno.makeTempDir();
  try {
    const file = `${directory}/program.ts`;
    await Deno.writeTextFile(file, program);
    const config = fileURLToPath(new URL("../../deno.json", import.meta.url));
    const command = `${Deno.execPath()} run -A --no-check --config ${config} ${file}`;
    const { success, stdout } = await new Deno.Command("script", {
      args: ["--quiet", "--return", "--command", command, "/dev/null"],
      stdin: "null",
    }).output();
    const text = new TextDecoder().decode(stdout);
    assert.ok(success, text);
    return text;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("work of many small steps does not flood a terminal, and its last word is shown", async () => {
  // A serial line takes 11 KB a second: work that draws each of its steps waits for the line.
  const said = await onTerminal(`
    import { Progress } from ${JSON.stringify(module)};
    const begun = performance.now();
    const progress = new Progress("Unpacking");
    for (let step = 1; step <= 20_000; step++) progress.update(\`step \${step}\`);
    const took_ms = performance.now() - begun;
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    progress.done(\`took \${took_ms}\`);
  `);
  const took_ms = Number(/took ([\d.]+)/.exec(said)?.[1]);
  const drawn = said.split("step ").length - 1;
  assert.ok(drawn <= took_ms / 200 + 4, `${drawn} lines in ${took_ms} ms`);
  assert.match(said, /step 20000 /);
});
