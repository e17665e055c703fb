/**
 * kill -9 of the engine under load. Every block that is written says which write it was, so that what
 * is found after the crash can be held against the list of what was done: it must be the state
 * after some first part of that list, and that part must contain everything that was acknowledged.
 */
import assert from "node:assert/strict";
import { seeded } from "../kit/random.ts";
import { type BareEngine, startBare } from "./bare_engine.ts";
import { NbdClient, NbdFailure } from "./nbd_client.ts";

const block = 4096;
const blocks = 12 * 1024;

interface Step {
  readonly first: number;
  readonly count: number;
  /** 0 makes zeros. */
  readonly stamp: number;
}

function stamped(step: Step): Uint8Array {
  const words = new Uint32Array(step.count * block / 4);
  for (let i = 0; i < step.count; i++) {
    words.fill(step.stamp, i * block / 4, (i + 1) * block / 4);
    words[i * block / 4] = step.first + i;
  }
  return new Uint8Array(words.buffer);
}

/** The stamp that a block carries. @throws when it is not one that a whole write left */
function stampOf(number: number, bytes: Uint8Array): number {
  const words = new Uint32Array(bytes.slice().buffer);
  const stamp = words[1] ?? 0;
  assert.equal(words[0], stamp === 0 ? 0 : number, `block ${number} holds another block's data`);
  assert.ok(words.subarray(1).every((word) => word === stamp), `block ${number} is torn`);
  return stamp;
}

/**
 * Holds a volume's content against all steps ever issued: there must be a point in the list that explains
 * every block. A step of several blocks that nobody was told of may have been cut between two of them,
 * as on any disk: its blocks are done in order, so the point may lie within it.
 * @returns the steps that survived, the last one cut to what is there of it
 */
function survived(steps: readonly Step[], content: readonly number[]): Step[] {
  const history: { point: number; stamp: number }[][] = content.map(() => [{ point: 0, stamp: 0 }]);
  let points = 0;
  for (const step of steps) {
    for (let b = step.first; b < step.first + step.count; b++) {
      history[b]?.push({ point: ++points, stamp: step.stamp });
    }
  }
  // Each block narrows the range of points in time at which the volume may have been.
  let ranges: [number, number][] = [[0, points]];
  for (const [b, stamp] of content.entries()) {
    const mine: [number, number][] = [];
    for (const [i, event] of (history[b] ?? []).entries()) {
      if (event.stamp !== stamp) continue;
      mine.push([event.point, (history[b]?.[i + 1]?.point ?? points + 1) - 1]);
    }
    ranges = ranges.flatMap(([low, high]) =>
      mine.map(([from, to]): [number, number] => [Math.max(low, from), Math.min(high, to)])
        .filter(([from, to]) => from <= to)
    );
    assert.ok(ranges.length > 0, `block ${b} with stamp ${stamp} fits no prefix of what was done`);
  }
  let left = Math.max(...ranges.map(([, high]) => high));
  const kept: Step[] = [];
  for (const step of steps) {
    if (left === 0) break;
    kept.push({ ...step, count: Math.min(step.count, left) });
    left -= Math.min(step.count, left);
  }
  return kept;
}

async function contentOf(client: NbdClient): Promise<number[]> {
  const content: number[] = [];
  for (let at = 0; at < blocks; at += 256) {
    const bytes = await client.read(at * block, 256 * block);
    for (let i = 0; i < 256; i++) {
      content.push(stampOf(at + i, bytes.subarray(i * block, (i + 1) * block)));
    }
  }
  return content;
}

Deno.test("a cut between two blocks of one write is a prefix; a hole in the past is none", () => {
  const steps = [
    { first: 0, count: 1, stamp: 7 },
    { first: 1, count: 3, stamp: 8 },
    { first: 0, count: 1, stamp: 9 },
  ];
  assert.deepEqual(survived(steps, [7, 8, 0, 0]), [steps[0], { first: 1, count: 1, stamp: 8 }]);
  assert.deepEqual(survived(steps, [9, 8, 8, 8]), steps);
  assert.throws(() => survived(steps, [9, 8, 0, 0]), /fits no prefix/);
  assert.throws(() => survived(steps, [7, 0, 8, 8]), /fits no prefix/);
  assert.throws(() => survived(steps, [0, 8, 8, 8]), /fits no prefix/);
});

Deno.test("after kill -9 at any moment the volume is a prefix of what was done, with all that was acknowledged", async () => {
  await seeded(async (random) => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-crash-", dir: "/var/tmp" });
    const socket = `${directory}/nbd`;
    let engine: BareEngine | undefined;
    try {
      const steps: Step[] = [];
      let acknowledged = 0;
      let replayed = 0;
      for (let epoch = 1; epoch <= 6; epoch++) {
        // A log of four segments, so that drains, checkpoints and reuse are under way all the time.
        engine = await startBare({
          directory,
          socket,
          sizeBytes: blocks * block,
          epoch,
          segmentBudget: 4,
          cacheBytes: 4 << 20,
        });
        replayed += engine.ready.replayed_batches;
        await using client = await NbdClient.connect(socket, "vol-bare");
        const content = await contentOf(client);
        const kept = survived(steps, content);
        const whole = kept.filter((step, i) => step.count === steps[i]?.count).length;
        assert.ok(
          whole >= acknowledged,
          `step ${acknowledged} was acknowledged, but only ${whole} survived`,
        );
        // What did not survive was never done.
        steps.splice(0, steps.length, ...kept);
        acknowledged = steps.length;
        const target = steps.length + 12_000 + random.below(6_000);
        const underWay = new Set<Promise<void>>();
        let killed = false;
        while (steps.length < target && !killed) {
          const first = random.below(blocks - 16);
          const count = 1 + random.below(random.below(8) === 0 ? 16 : 3);
          const stamp = random.below(20) === 0 ? 0 : steps.length + 1 + epoch * 0x1000_0000;
          const step = { first, count, stamp };
          steps.push(step);
          const number = steps.length;
          const call = stamp === 0
            ? client.zero(first * block, count * block)
            : client.write(first * block, stamped(step), random.below(64) === 0);
          const work = call.then(
            () => void (acknowledged = Math.max(acknowledged, number)),
            (error) => {
              if (!(error instanceof NbdFailure && error.code === 0)) throw error;
              killed = true;
            },
          ).finally(() => underWay.delete(work));
          underWay.add(work);
          if (random.below(200) === 0) client.flush().catch(() => {});
          if (underWay.size >= 32) await Promise.race(underWay);
        }
        assert.equal(killed, false);
        await engine.kill();
        engine = undefined;
        await Promise.all(underWay);
      }
      assert.ok(replayed > 0, "no crash left anything to replay");
      const stored = [...Deno.readDirSync(`${directory}/objects`)];
      assert.ok(stored.length > 0, "the log was never drained: the test was too short");
    } finally {
      await engine?.kill();
      await Deno.remove(directory, { recursive: true });
    }
  });
});
