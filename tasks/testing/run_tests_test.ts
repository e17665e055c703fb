import assert from "node:assert/strict";

const runTests = new URL("run_tests.ts", import.meta.url).href;

/** What `runSteps` prints of these steps, and its exit code, in a process of its own. */
async function ran(steps: string, lanes = 2): Promise<{ lines: string[]; code: number }> {
  const program = `
    import { runSteps } from ${JSON.stringify(runTests)};
    const ok = "ok | 1 passed | 0 failed (1ms)";
    Deno.exit(await runSteps(${steps}));
  `;
  const { stdout, code } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", program],
    env: { NO_COLOR: "1", LANES: String(lanes) },
  }).output();
  return { lines: new TextDecoder().decode(stdout).split("\n"), code };
}

/** A step that prints `name`, waits for the file `after`, makes `name` and prints it again. */
const printing = (directory: string, name: string, after: string) =>
  `{
  name: ${JSON.stringify(name)},
  timeout_ms: 60_000,
  args: ["eval", ${
    JSON.stringify(`
    console.log("${name} 1");
    Deno.writeTextFileSync("${directory}/${name}", "");
    while (!(await Deno.stat("${directory}/${after}").then(() => true, () => false))) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    console.log("${name} 2");
  `)
  }],
}`;

Deno.test({
  name: "two steps run beside each other, and each one's output stands whole",
  ignore: navigator.hardwareConcurrency < 2,
  async fn() {
    const directory = await Deno.makeTempDir();
    try {
      // Each waits for the other: one after the other they would never end.
      const { lines, code } = await ran(
        `[${printing(directory, "one", "two")}, ${printing(directory, "two", "one")}]`,
      );
      for (const name of ["one", "two"]) {
        const at = lines.indexOf(`${name} 1`);
        assert.deepEqual(lines.slice(at - 1, at + 2), [`== ${name}`, `${name} 1`, `${name} 2`]);
      }
      assert.equal(lines.at(-2), "2 passed, 0 failed");
      assert.equal(code, 0);
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});

Deno.test("with one lane no step begins before the one before it has ended", async () => {
  const step = (name: string) =>
    `{ name: "${name}", args: ["eval", "console.log('${name} runs')"], timeout_ms: 60_000 }`;
  const { lines } = await ran(`[${step("one")}, ${step("two")}]`, 1);
  const said = lines.map((line) => line.replace(/ \(.*/, ""))
    .filter((line) => line !== "" && !/^\d+ s, processors \d+ % busy$/.test(line));
  assert.deepEqual(said, [
    ...["== one", "one runs", "ok one: 1 passed, 0 failed"],
    ...["== two", "two runs", "ok two: 1 passed, 0 failed"],
    "2 passed, 0 failed",
  ]);
});

Deno.test("a step that wants the machine for itself runs when all others have ended", async () => {
  const step = (name: string, more: string) =>
    `{ name: "${name}", args: ["eval", "console.log('${name} runs')"], timeout_ms: 60_000${more} }`;
  const { lines } = await ran(
    `[${step("one", ", alone: true")}, ${step("two", "")}, ${step("three", "")}]`,
  );
  const at = (line: string) => lines.findIndex((one) => one.startsWith(line));
  assert.ok(at("ok two:") < at("one runs") && at("ok three:") < at("one runs"), lines.join("\n"));
});

Deno.test("a step that fails, hangs or dies is a failure, and the others run on", async () => {
  const { lines, code } = await ran(`[
    { name: "fails", args: ["eval", "Deno.exit(3)"], timeout_ms: 60_000 },
    { name: "hangs", args: ["eval", "setInterval(() => {}, 1000)"], timeout_ms: 300 },
    { name: "dies", args: ["eval", "Deno.kill(Deno.pid, 'SIGKILL')"], tests: true, timeout_ms: 60_000 },
    { name: "passes", args: ["eval", \`console.log(\${JSON.stringify(ok)})\`], tests: true, timeout_ms: 60_000 },
  ]`);
  assert.equal(lines.at(-2), "1 passed, 3 failed", lines.join("\n"));
  assert.match(lines.join("\n"), /What failed:\nfails:\nhangs:\ndies:\n/);
  assert.equal(code, 1);
});
