import assert from "node:assert/strict";
import { failuresOf, tellFailures } from "./failures.ts";

const directory = await Deno.makeTempDir();
const file = `${directory}/some_test.ts`;
await Deno.writeTextFile(
  file,
  `Deno.test("outer", async (t) => {
  await t.step("inner", () => { throw new Error("first line\\nsecond line"); });
});
Deno.test("sound", () => {});
Deno.test("another", () => { throw new TypeError("no"); });
`,
);
const broken = `${directory}/broken_test.ts`;
await Deno.writeTextFile(broken, `throw new Error("not loaded");\n`);

async function outputOf(colours: boolean): Promise<string> {
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["test", "--no-check", "--quiet", file, broken],
    env: colours ? { FORCE_COLOR: "1", NO_COLOR: "" } : { NO_COLOR: "1" },
  }).output();
  return new TextDecoder().decode(stdout);
}

for (const colours of [false, true]) {
  Deno.test(`failed tests are told with their names and errors, ${colours ? "also" : "not"} from colours`, async () => {
    const failures = failuresOf(await outputOf(colours));
    assert.deepEqual(failures.map(({ name }) => name.replace(/^.*\//, "")).sort(), [
      "another",
      "broken_test.ts (uncaught error)",
      "outer ... inner",
    ]);
    const told = tellFailures(failures);
    assert.match(told, /outer \.\.\. inner\n {4}error: Error: first line\n {4}second line\n/);
    assert.match(told, /TypeError: no/);
    assert.match(told, /not loaded/);
    assert.doesNotMatch(told, /some_test\.ts:\d+:\d+\)?$/m);
  });
}

globalThis.addEventListener("unload", () => Deno.removeSync(directory, { recursive: true }));

Deno.test("a run without failures has none", () => {
  assert.deepEqual(failuresOf("ok | 3 passed | 0 failed (1s)\n"), []);
});
