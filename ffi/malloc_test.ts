/** Large memory that is free goes back to the kernel, also from between what is still in use. */
import assert from "node:assert/strict";

/** In MiB: how much smaller a process gets when every second of 100 MiB of buffers is free. */
async function givenBack(first: string): Promise<number> {
  const module = new URL("./malloc.ts", import.meta.url).href;
  const code = `import { mapMemoryFrom } from "${module}";
    ${first}
    // A large one that is freed is what makes the C library keep those after it.
    new Uint8Array(16 << 20).fill(1).buffer.transfer(0);
    const buffers = Array.from({ length: 200 }, () => new Uint8Array(512 * 1024).fill(1));
    const before = Deno.memoryUsage().rss;
    buffers.forEach((one, at) => at % 2 === 0 && one.buffer.transfer(0));
    console.log((before - Deno.memoryUsage().rss) / 2 ** 20, buffers.length);`;
  const { stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      "--no-check",
      `data:application/typescript;base64,${btoa(code)}`,
    ],
  }).output();
  const told = new TextDecoder().decode(stdout);
  assert.notEqual(told, "", new TextDecoder().decode(stderr));
  return parseFloat(told);
}

Deno.test("buffers over the size are unmapped when they are free", async () => {
  assert.ok(await givenBack("mapMemoryFrom(128 * 1024);") > 45);
});

Deno.test("left to itself the C library keeps them", async () => {
  assert.ok(await givenBack("") < 45);
});
