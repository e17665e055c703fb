import assert from "node:assert/strict";
import { countsOf, lastLine, sum } from "./counts.ts";

Deno.test("the summary of a run is read with and without steps and colours", () => {
  assert.deepEqual(countsOf("x\nok | 12 passed | 0 failed (5s)\n", 0), { passed: 12, failed: 0 });
  assert.deepEqual(
    countsOf("\x1b[0m\x1b[31mFAILED\x1b[0m | 3 passed (4 steps) | 2 failed (1 step) (5ms)\n", 1),
    { passed: 3, failed: 2 },
  );
  assert.deepEqual(countsOf("ok | 1 passed (2 steps) | 0 failed | 1 ignored (1s)", 0), {
    passed: 1,
    failed: 0,
  });
});

Deno.test("a run that died is a failure, however much had passed", () => {
  assert.deepEqual(countsOf("running 5 tests\nkilled", 137), { passed: 0, failed: 1 });
  assert.deepEqual(countsOf("ok | 5 passed | 0 failed (1s)\nerror: uncaught", 1), {
    passed: 5,
    failed: 1,
  });
});

Deno.test("the last line sums what ran", () => {
  assert.equal(
    lastLine(sum([{ passed: 1, failed: 0 }, { passed: 2, failed: 3 }])),
    "3 passed, 3 failed",
  );
});

Deno.test("Deno itself still prints the summary that is read here", async () => {
  const directory = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(
      `${directory}/a_test.ts`,
      'Deno.test("a", async (t) => { await t.step("s", () => {}); });\n' +
        'Deno.test("b", () => { throw new Error("no"); });\n',
    );
    const { code, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["test", "--no-config", "--no-check", directory],
      stdout: "piped",
      stderr: "null",
    }).output();
    assert.deepEqual(countsOf(new TextDecoder().decode(stdout), code), { passed: 1, failed: 1 });
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
