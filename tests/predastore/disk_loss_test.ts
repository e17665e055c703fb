/**
 * RS(2,1) over three directories: one is removed while a hundred clients write and read over HTTPS. None
 * of them sees an error or a wrong byte; when an empty directory comes back, full redundancy comes back,
 * as `hive s3 fsck` says; and then another directory may go.
 */
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  PutObjectCommand,
  type S3Client,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { join } from "node:path";
import type { FsckReport } from "../../services/predastore/contract.ts";
import { bytesOf } from "../../services/predastore/test_store.ts";
import { startPredastore } from "../kit/predastore.ts";
import { fsck, hive } from "./hive.ts";
import { loseDirectory } from "./lost_directory.ts";

const clients = 100;
const Bucket = "bucket";
const sizes = [100, 9_000, 40_000, 150_000, 300_000];

/** One client: writes, reads back what it wrote, deletes now and then, and checks every byte. */
class Client {
  rounds = 0;
  readonly #known = new Map<string, number>();

  constructor(readonly s3: S3Client, readonly number: number) {}

  #bytes(seed: number) {
    return bytesOf(seed, sizes[seed % sizes.length] ?? 1);
  }

  async round(): Promise<void> {
    const round = this.rounds;
    const Key = `c${this.number}/k${round % 3}`;
    const seed = this.number * 1000 + round;
    await this.s3.send(new PutObjectCommand({ Bucket, Key, Body: this.#bytes(seed) }));
    this.#known.set(Key, seed);
    if (round % 7 === 6) {
      const gone = `c${this.number}/k${(round + 1) % 3}`;
      await this.s3.send(new DeleteObjectCommand({ Bucket, Key: gone }));
      this.#known.delete(gone);
    }
    await this.check();
    this.rounds++;
  }

  async check(): Promise<void> {
    for (const [Key, seed] of this.#known) {
      const { Body } = await this.s3.send(new GetObjectCommand({ Bucket, Key }));
      const found = await Body?.transformToByteArray() ?? new Uint8Array(0);
      assert.ok(Buffer.compare(found, this.#bytes(seed)) === 0, `${Key} has other bytes`);
    }
  }
}

const patience_ms = 300_000;

/** @param moves what grows as long as work goes on: a slow machine is given time, one that stands is not */
async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  moves: () => number = () => 0,
): Promise<void> {
  let moved = moves();
  let since = performance.now();
  while (!await holds()) {
    if (moves() !== moved) {
      moved = moves();
      since = performance.now();
    } else if (performance.now() - since > patience_ms) {
      throw new Error(`it did not come about, and nothing moved for five minutes: ${what}`);
    }
    await new Promise((next) => setTimeout(next, 100));
  }
}

Deno.test({
  name:
    "RS(2,1): a hundred clients notice nothing of a directory that goes, and all is whole after",
  // Connections that are kept alive end when they like.
  sanitizeResources: false,
  sanitizeOps: false,
  fn: async () => {
    await using test = await startPredastore({
      storage: (directory) => ({
        blobs: [0, 1, 2].map((at) => `${directory}/blob${at}`),
        data_shards: 2,
        parity_shards: 1,
      }),
      // A hundred clients keep this thread busy.
      identity_apart: true,
    });
    const blob = (at: number) => join(test.node.config.data_dir, `blob${at}`);
    // An error is an error: nothing is tried twice.
    const s3 = test.s3("AKIATEST", { maxAttempts: 1 });
    await s3.send(new CreateBucketCommand({ Bucket }));
    const all = Array.from({ length: clients }, (_, at) => new Client(s3, at));
    let stop = false;
    const running = Promise.all(all.map(async (client) => {
      while (!stop) await client.round();
    }));
    running.catch(() => {});
    const everybodyAt = (round: number) => all.every((client) => client.rounds >= round);
    const rounds = () => all.reduce((sum, client) => sum + client.rounds, 0);
    const stillWell = (done: () => boolean) =>
      Promise.race([until("every client went on", done, rounds), running]);
    await stillWell(() => everybodyAt(1));
    const before = await fsck(test);
    assert.equal(before.full_redundancy, true, JSON.stringify(before.findings));

    await loseDirectory(blob(1));
    const atRemoval = Math.max(...all.map(({ rounds }) => rounds));
    await stillWell(() => everybodyAt(atRemoval + 1));
    await until(
      "the store knows that it is away",
      async () => (await hive(test, "s3", "status")).code === 1,
    );
    const hurt = await fsck(test);
    assert.equal(hurt.full_redundancy, false);
    assert.equal(hurt.lost, 0);

    await Deno.mkdir(blob(1));
    const atReturn = Math.max(...all.map(({ rounds }) => rounds));
    await stillWell(() => everybodyAt(atReturn + 1));
    stop = true;
    await running;

    let report: FsckReport | undefined;
    await until("full redundancy is back", async () => {
      report = await fsck(test);
      return report.full_redundancy;
    });
    assert.deepEqual(report?.findings, []);
    assert.equal((await hive(test, "s3", "status")).code, 0);

    // Now another one may go: what was made anew is all that its shards can be computed from.
    await loseDirectory(blob(0));
    await test.restart("SIGTERM");
    for (const client of all) await client.check();
  },
});

Deno.test("hive s3 tells of the store in words, and scrubs it", async () => {
  await using test = await startPredastore();
  const s3 = test.s3();
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key: "k", Body: bytesOf(1, 100_000) }));
  const status = await hive(test, "s3", "status");
  assert.equal(status.code, 0, status.text + status.said);
  assert.match(status.text, /RS\(1,0\): 1 objects in 3 buckets/);
  assert.match(status.text, /All is well\./);
  const scrub = await hive(test, "s3", "scrub", "--json");
  assert.equal(scrub.code, 0, scrub.said);
  const { running, damaged, bytes_checked } = JSON.parse(scrub.text);
  assert.deepEqual({ running, damaged }, { running: false, damaged: 0 });
  assert.ok(bytes_checked >= 100_000);
  const check = await hive(test, "s3", "fsck");
  assert.equal(check.code, 0, check.text);
  assert.match(check.text, /Everything stands with full redundancy\./);
  // A bit that flips is found, told, and lost where there is no parity.
  const segments = join(test.node.config.storage.blobs[0] ?? "", "segments");
  for await (const { name } of Deno.readDir(segments)) {
    const bytes = await Deno.readFile(join(segments, name));
    for (let at = 8192 + 5000; at < bytes.length; at += 5000) bytes[at] = (bytes[at] ?? 0) ^ 1;
    await Deno.writeFile(join(segments, name), bytes);
  }
  const broken = await hive(test, "s3", "fsck");
  assert.equal(broken.code, 4, broken.text);
  assert.match(broken.text, /LOST bucket\/k: 1 stripes cannot be computed/);
});
