import assert from "node:assert/strict";
import { IoError } from "../../../ffi/direct_io.ts";
import { FaultyDisk } from "./faulty_disk.ts";
import { callsAtOnce, LimitedDisk } from "./limited_disk.ts";
import { randomFrom, SimulatedDisk } from "./simulated_disk.ts";

const page = () => new Uint8Array(4096);

async function hungDisk(late_ms: number) {
  const real = new SimulatedDisk(randomFrom(1));
  await real.makeFolder("/d");
  const faulty = new FaultyDisk(real);
  const disk = new LimitedDisk(faulty, 3, late_ms);
  const file = await disk.open("/d/file", { write: true, create: true });
  await file.write(page().fill(7), 0);
  const answer = Promise.withResolvers<void>();
  faulty.faults.add({ path: "/d", hung: answer.promise });
  const release = () => {
    faulty.faults.clear();
    answer.resolve();
  };
  return { disk, faulty, file, release };
}

Deno.test("of a disk that answers nothing no more than so many calls are on their way, and all are made when it answers", async () => {
  const { faulty, file, release } = await hungDisk(60_000);
  const reads = Array.from({ length: 10 }, async () => {
    const into = page();
    await file.read(into, 0);
    return into[0];
  });
  const written = file.write(page().fill(8), 4096);
  await new Promise((next) => setTimeout(next, 0));
  assert.equal(faulty.unanswered, 3);
  // Who has begun comes to the end.
  file[Symbol.dispose]();
  release();
  assert.deepEqual(await Promise.all(reads), Array(10).fill(7));
  await written;
});

Deno.test("where a call has had no answer for long, who reads is told at once, and who writes waits", async () => {
  const { disk, faulty, file, release } = await hungDisk(0);
  const stuck = Array.from({ length: 3 }, () => file.read(page(), 0));
  while (faulty.unanswered < 3) await new Promise((next) => setTimeout(next, 0));
  const late = (error: unknown) => error instanceof IoError && error.code === "ETIMEDOUT";
  await assert.rejects(file.read(page(), 0), late);
  await assert.rejects(disk.open("/d/file", { write: false }), late);
  const written = file.write(page(), 4096);
  const named = disk.names("/d");
  release();
  await Promise.all(stuck);
  await written;
  assert.deepEqual(await named, ["file"]);
  assert.equal(await file.read(page(), 0), 4096);
});

Deno.test("all directories that the store can go on without leave threads for the others", () => {
  for (let spare = 1; spare <= 12; spare++) assert.ok(spare * callsAtOnce(spare) <= 24);
  assert.equal(callsAtOnce(0), 24);
});
