/** An engine that could not open its volume leaves nothing open: others come after it in the same process. */
import assert from "node:assert/strict";
import { startBare } from "./bare_engine.ts";

async function openRings(pid: number): Promise<number> {
  let rings = 0;
  for await (const { name } of Deno.readDir(`/proc/${pid}/fd`)) {
    const target = await Deno.readLink(`/proc/${pid}/fd/${name}`).catch(() => "");
    if (target === "anon_inode:[io_uring]") rings++;
  }
  return rings;
}

Deno.test("an engine that finds its volume damaged gives its ring back before another serves it for reading", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-rings-", dir: "/var/tmp" });
  try {
    const options = { directory, socket: `${directory}/nbd`, sizeBytes: 64 << 20, epoch: 1 };
    const whole = await startBare(options);
    assert.equal(await openRings(whole.process.pid), 1);
    await whole.stop();
    await Deno.writeTextFile(`${directory}/log/map.ckpt`, "no checkpoint");
    const damaged = await startBare(options);
    assert.ok(damaged.ready.damage !== undefined);
    assert.equal(await openRings(damaged.process.pid), 1);
    await damaged.stop();
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
