import assert from "node:assert/strict";
import { isProcessOf, killProcessOf } from "./process.ts";

Deno.test("a process is ended only when its command line says that it is the one", async () => {
  const child = new Deno.Command("sleep", { args: ["86399"] }).spawn();
  // Between its fork and its exec the child still has the parent's command line.
  const limit = performance.now() + 60_000;
  while (!isProcessOf(child.pid, "86399") && performance.now() < limit) {
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  assert.equal(killProcessOf(child.pid, "86398"), false);
  assert.equal(killProcessOf(child.pid, "86399"), true);
  assert.equal((await child.status).signal, "SIGKILL");
});

Deno.test("a process that is not there is no error", () => {
  assert.equal(killProcessOf(0x3fffff, "sleep"), false);
});

Deno.test("FFI is all the permission that looking at a process needs", async () => {
  const child = new Deno.Command("sleep", { args: ["86397"] }).spawn();
  try {
    const module = new URL("./process.ts", import.meta.url).href;
    const code = `import { isProcessOf } from "${module}";
      const limit = performance.now() + 60_000;
      while (!isProcessOf(${child.pid}, "86397") && performance.now() < limit);
      console.log(isProcessOf(${child.pid}, "86397"), isProcessOf(${child.pid}, "86398"));`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-ffi",
        `data:application/typescript,${encodeURIComponent(code)}`,
      ],
    }).output();
    assert.equal(new TextDecoder().decode(stdout).trim(), "true false");
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
});
