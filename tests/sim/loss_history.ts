/**
 * A random history of buckets of changing erasure codes on real directories, of which one at a time is away, comes
 * back as it was, or is replaced by an empty one; meanwhile the store is compacted, scrubbed, started again,
 * and its index made again. Every code survives one lost directory, so at each look all that was acknowledged
 * must be there, byte for byte, and nothing else; and once all directories are there, full redundancy.
 *
 * Everything follows from the seed but the moments of background reads; a failure tells all steps.
 */
import { join } from "node:path";
import { type Code, codeName, parseCode } from "../../services/predastore/extents/code.ts";
import { type Random, randomFrom } from "../../services/predastore/disk/simulated_disk.ts";
import { Fsck } from "../../services/predastore/upkeep/fsck.ts";
import type { BucketRow } from "../../services/predastore/index/rows.ts";
import { removeIndex, Store } from "../../services/predastore/store.ts";
import { bodyOf, bytesOf, contentOf, quiet } from "../../services/predastore/test_store.ts";

const directories = 4;
const steps = 60;
const looks = 5;
const sizes = [0, 300, 16_384, 17_000, 60_000, 400_000];
const codes = ["1+1", "1+2", "2+1", "2+2", "3+1", "1+3"];
/** The last of them keeps versions. */
const buckets = ["usual", "own", "versioned"];
const keys = ["a", "b", "c", "d", "e"];
const meta = { headers: {}, user: {} };

const contentOfSeed = (seed: number) => bytesOf(seed, sizes[seed % sizes.length] ?? 0);

class LossHistory {
  readonly #random: Random;
  readonly #folder: string;
  readonly #blobs: readonly string[];
  readonly #usual: Code;
  readonly steps: string[] = [];
  #store: Store | undefined;
  /** By `bucket/key`: the seed of what a plain read sees. */
  readonly #objects = new Map<string, number>();
  /** By `bucket/key`: versions with what they hold, the newest last; 0 is a delete marker. */
  readonly #versions = new Map<string, Map<string, number>>();
  #content = 0;
  /** The directory that is away, and where it stands meanwhile. */
  #away: { readonly at: number; readonly parked: string } | undefined;
  #parkings = 0;

  constructor(seed: number, folder: string) {
    this.#random = randomFrom(seed);
    this.#folder = folder;
    this.#blobs = Array.from({ length: directories }, (_, at) => join(folder, `blob${at}`));
    this.#usual = parseCode(this.#pick(["1+1", "2+1", "1+2"]), directories);
  }

  #pick<T>(from: readonly T[]): T {
    return from[this.#random(from.length)] as T;
  }

  #anyCode(): Code {
    return parseCode(this.#pick(codes), directories);
  }

  get #open(): Store {
    if (this.#store === undefined) throw new Error("the store is not open");
    return this.#store;
  }

  async #start(): Promise<void> {
    this.#store = await Store.open({
      index: join(this.#folder, "index.db"),
      blobs: this.#blobs,
      data_shards: this.#usual.k,
      parity_shards: this.#usual.m,
      reserve_bytes: 0,
      log: quiet,
      repair_bytes_per_second: Infinity,
      scrub_bytes_per_second: Infinity,
      segment_bytes: 1 << 20,
    });
  }

  async stop(): Promise<void> {
    await this.#store?.[Symbol.asyncDispose]();
    this.#store = undefined;
  }

  async #startAgain(rebuild: boolean): Promise<void> {
    await this.stop();
    if (rebuild) await removeIndex(join(this.#folder, "index.db"));
    await this.#start();
  }

  async run(): Promise<void> {
    await this.#start();
    for (const name of buckets) {
      await this.#open.buckets.create(name, "123456789012", "r", {
        ...(name === "usual" ? {} : { code: this.#anyCode() }),
        ...(name === "versioned" ? { versioning: "Enabled" as const } : {}),
      });
    }
    this.steps.push(`usual ${codeName(this.#usual)}`);
    for (let at = 1; at <= steps; at++) {
      await this.#step();
      if (at % looks === 0) await this.#look();
    }
    if (this.#away === undefined) await this.#becomesWhole();
    await this.#startAgain(true);
    await this.#look();
  }

  async #step(): Promise<void> {
    const name = this.#pick(buckets);
    const key = this.#pick(keys);
    const what = this.#random(22);
    if (what < 7) await this.#put(name, key);
    else if (what < 10) await this.#delete(name, key);
    else if (what < 11) await this.#deleteVersion(key);
    else if (what < 12) await this.#multipart(name, key);
    else if (what < 13) await this.#tag(name, key);
    else if (what < 14) await this.#setCode(name);
    else if (what < 16) await this.#note("compact", () => this.#open.compactor.run(2));
    else if (what < 17) {
      await this.#note("scrub", () => this.#open.scrub.run());
      await this.#open.repair.run();
    } else if (what < 18) await this.#note("start again", () => this.#startAgain(false));
    else if (what < 19) await this.#note("make the index again", () => this.#startAgain(true));
    else if (this.#away !== undefined) await this.#return(this.#away);
    else if (this.#random(3) === 0) await this.#lose();
  }

  async #note(step: string, work: () => Promise<unknown>): Promise<void> {
    this.steps.push(step);
    await work();
  }

  #bucket(name: string): BucketRow {
    const bucket = this.#open.buckets.find(name);
    if (bucket === undefined) throw new Error(`the bucket ${name} is gone`);
    return bucket;
  }

  #known(name: string, key: string, version: string | undefined, seed: number): void {
    const at = `${name}/${key}`;
    if (seed === 0) this.#objects.delete(at);
    else this.#objects.set(at, seed);
    if (version === undefined) return;
    const versions = this.#versions.get(at) ?? new Map<string, number>();
    this.#versions.set(at, versions.set(version, seed));
  }

  async #put(name: string, key: string): Promise<void> {
    const seed = ++this.#content;
    this.steps.push(`put ${name}/${key} ${seed}`);
    const body = bodyOf(contentOfSeed(seed), `${seed}`);
    const { version } = await this.#open.objects.put(this.#bucket(name), key, body);
    this.#known(name, key, version, seed);
  }

  async #delete(name: string, key: string): Promise<void> {
    this.steps.push(`delete ${name}/${key}`);
    const { marker } = await this.#open.objects.delete(this.#bucket(name), key);
    this.#known(name, key, marker, 0);
  }

  async #deleteVersion(key: string): Promise<void> {
    const at = `versioned/${key}`;
    const versions = this.#versions.get(at) ?? new Map<string, number>();
    if (versions.size === 0) return;
    const version = this.#pick([...versions.keys()]);
    this.steps.push(`delete ${at} ${version}`);
    await this.#open.objects.deleteVersion(this.#bucket("versioned"), key, version);
    versions.delete(version);
    const latest = [...versions.values()].at(-1) ?? 0;
    if (latest === 0) this.#objects.delete(at);
    else this.#objects.set(at, latest);
  }

  async #multipart(name: string, key: string): Promise<void> {
    const seed = ++this.#content;
    this.steps.push(`multipart ${name}/${key} ${seed}`);
    const { uploads } = this.#open;
    const bucket = this.#bucket(name);
    const { id } = await uploads.create(bucket, key, meta);
    const row = uploads.find(bucket, key, id);
    const whole = contentOfSeed(seed);
    const cut = Math.floor(whole.length / 3);
    await uploads.putPart(bucket, row, 1, bodyOf(whole.subarray(0, cut), "a"));
    await uploads.putPart(bucket, row, 2, bodyOf(whole.subarray(cut), "b"));
    if (this.#random(4) === 0) return await uploads.abort(bucket, row);
    const made = await uploads.complete(bucket, row, (parts) => ({ parts, etag: `${seed}`, meta }));
    this.#known(name, key, made.version, seed);
  }

  async #tag(name: string, key: string): Promise<void> {
    if (!this.#objects.has(`${name}/${key}`)) return;
    this.steps.push(`tag ${name}/${key}`);
    const tags = [{ key: "a", value: `${this.steps.length}` }];
    await this.#open.objects.annotate(this.#bucket(name), key, undefined, () => ({ tags }));
  }

  async #setCode(name: string): Promise<void> {
    const code = this.#anyCode();
    this.steps.push(`code ${name} ${codeName(code)}`);
    await this.#open.buckets.set(this.#bucket(name), (now) => ({ ...now, code }));
    this.#open.repair.lookAgain();
  }

  /** Only what is whole may lose a directory. */
  async #lose(): Promise<void> {
    await this.#becomesWhole();
    const at = this.#random(directories);
    const blob = this.#blobs[at] ?? "";
    this.steps.push(`lose ${at}`);
    this.#away = { at, parked: `${blob}.parked${this.#parkings++}` };
    await Deno.rename(blob, this.#away.parked);
    await this.#open.directories.inspect();
  }

  async #return({ at, parked }: { readonly at: number; readonly parked: string }): Promise<void> {
    const blob = this.#blobs[at] ?? "";
    if (this.#random(3) > 0) {
      this.steps.push(`replace ${at}`);
      await Deno.mkdir(blob, { recursive: true });
    } else {
      const running = this.#random(2) === 0;
      this.steps.push(`return ${at}${running ? " while it runs" : ""}`);
      if (!running) await this.stop();
      await Deno.remove(blob, { recursive: true }).catch(() => {});
      await Deno.rename(parked, blob);
      if (!running) await this.#start();
    }
    this.#away = undefined;
    for (let look = 0; look < 2; look++) await this.#open.directories.inspect();
    // One that took another's place in the meantime is only taken back at a start.
    if (this.#open.directories.online.length < directories) await this.#startAgain(false);
    await this.#becomesWhole();
  }

  async #becomesWhole(): Promise<void> {
    for (let look = 0; look < 3; look++) {
      await this.#open.directories.inspect();
      await this.#open.repair.run();
    }
    const report = await new Fsck(this.#open).run(new AbortController().signal);
    if (!report.full_redundancy) {
      throw new Error(`redundancy is not full: ${JSON.stringify(report.findings.slice(0, 5))}`);
    }
  }

  async #look(): Promise<void> {
    for (const name of buckets) {
      const bucket = this.#bucket(name);
      const listed = this.#open.index.objects.listFrom(bucket.id, new Uint8Array(0), true, 100)
        .map(({ key }) => key).join();
      const wanted = keys.filter((key) => this.#objects.has(`${name}/${key}`)).join();
      if (listed !== wanted) throw new Error(`${name} lists ${listed} and not ${wanted}`);
      for (const key of keys) {
        const seed = this.#objects.get(`${name}/${key}`);
        if (seed !== undefined) await this.#same(bucket, key, seed);
        for (const [version, holds] of this.#versions.get(`${name}/${key}`) ?? []) {
          await this.#same(bucket, key, holds, version);
        }
      }
    }
  }

  async #same(bucket: BucketRow, key: string, seed: number, version?: string): Promise<void> {
    const what = `${bucket.name}/${key} ${version ?? ""}`;
    const object = this.#open.objects.find(bucket, key, version);
    if (object === undefined) throw new Error(`${what} is gone`);
    if (seed === 0) {
      if (object.marker !== true) throw new Error(`${what} is no delete marker`);
      return;
    }
    const found = await contentOf(this.#open, object);
    if (Buffer.compare(found, contentOfSeed(seed)) !== 0) throw new Error(`${what} differs`);
  }
}

/** @throws Error that tells the steps */
export async function runLossHistory(seed: number): Promise<void> {
  const folder = await Deno.makeTempDir({
    dir: await Deno.stat("/dev/shm").then(() => "/dev/shm", () => "/tmp"),
    prefix: "mulga-losses-",
  });
  const history = new LossHistory(seed, folder);
  try {
    await history.run();
  } catch (cause) {
    throw new Error(`MULGA_TEST_SEED=${seed}: ${history.steps.join("; ")}`, { cause });
  } finally {
    await history.stop();
    await Deno.remove(folder, { recursive: true });
  }
}
