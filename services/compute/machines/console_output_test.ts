import assert from "node:assert/strict";
import { pathsOf } from "../../config/node_config.ts";
import { boundConsole, consoleTail_bytes, readConsole } from "./console_output.ts";
import { machinePaths } from "./machine_paths.ts";

async function machine() {
  const root = await Deno.makeTempDir({ prefix: "mulga-console-" });
  const paths = machinePaths(pathsOf(root), "i-1");
  await Deno.mkdir(paths.directory, { recursive: true });
  return { paths, [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }) };
}

Deno.test("a console that never said anything is empty, and its escapes are kept as they are", async () => {
  await using made = await machine();
  assert.deepEqual(await readConsole(made.paths), { output: "" });
  const said = "\x1b[2J\r\nlogin: \xff";
  await Deno.writeFile(
    made.paths.consoleLog,
    Uint8Array.from(said, (sign) => sign.charCodeAt(0)),
  );
  const text = await readConsole(made.paths);
  assert.equal(atob(text.output), said);
  assert.ok(text.written);
});

Deno.test("a flood is cut to its end, while the writer goes on appending", async () => {
  await using made = await machine();
  using writer = await Deno.open(made.paths.consoleLog, { create: true, append: true });
  const block = new Uint8Array(1 << 20).fill(46);
  for (let megabytes = 0; megabytes < 5; megabytes++) await writer.write(block);
  await writer.write(new TextEncoder().encode("before "));
  await boundConsole(made.paths);
  assert.equal((await Deno.stat(made.paths.consoleLog)).size, 0);
  await writer.write(new TextEncoder().encode("after"));
  const bytes = Uint8Array.fromBase64((await readConsole(made.paths)).output);
  assert.equal(bytes.length, consoleTail_bytes);
  assert.ok(new TextDecoder().decode(bytes).endsWith(".before after"));
  await boundConsole(made.paths);
  assert.equal((await Deno.stat(made.paths.consoleLog)).size, 5, "a short log is left alone");
});
