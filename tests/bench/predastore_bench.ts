/**
 * S3 throughput of one predastore process over TLS, against what a bare Deno process sends and receives
 * with nothing behind it, and against a plain copy of the same bytes to a synced file on the same file
 * system, all in the same run; for PUT also against the bare process with only MD5 beside it; small objects, long lists, and memory under many streams. Ratios,
 * interleaved round by round: absolute figures of a busy machine mean nothing. The processor time of a
 * MiB or of a request is told as well, since other work hardly changes it; the request thread's bounds what
 * one process can do. One line of JSON for each figure.
 *
 * Run alone with `deno run -A tests/bench/predastore_bench.ts [--mebibytes N] [--rounds N]`.
 */
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { createHash } from "node:crypto";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { crc32 } from "node:zlib";
import { ObjectStore } from "../../services/predastore/contract.ts";
import { quickCopies } from "../../tasks/supervisor/service_command.ts";
import { freePort } from "../kit/nats.ts";
import { startPredastore } from "../kit/predastore.ts";
import { measure, type Measured, median, seconds } from "./predastore_processor.ts";
import { endedChildrenTime } from "./processor_time.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    mebibytes: { type: "string", default: "256" },
    rounds: { type: "string", default: "3" },
  },
});
const mebibytes = Number(values.mebibytes);
const rounds = Number(values.rounds);
const size = mebibytes << 20;

await using test = await startPredastore();
const s3 = test.s3();
await s3.send(new CreateBucketCommand({ Bucket: "bench" }));
const source = join(test.node.config.data_dir, "source");
{
  using file = await Deno.open(source, { write: true, create: true });
  const block = new Uint8Array(1 << 20);
  for (let at = 0; at < block.length; at += 65_536) {
    crypto.getRandomValues(block.subarray(at, at + 65_536));
  }
  for (let at = 0; at < mebibytes; at++) {
    new DataView(block.buffer).setUint32(0, at);
    await file.write(block);
  }
  await file.sync();
}

const checksumHeader = "x-amz-checksum-crc32";

/** The CRC-32 of the source as S3 writes it. */
async function crcOfSource(): Promise<string> {
  let sum = 0;
  using file = await Deno.open(source);
  for await (const chunk of file.readable) sum = crc32(chunk, sum);
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, sum);
  return bytes.toBase64();
}

/** A key that a client brings, and the headers of a request with it. */
function customersKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(32));
  const key = bytes.toBase64();
  const md5 = createHash("md5").update(bytes).digest("base64");
  const name = "x-amz-server-side-encryption-customer";
  const headers = new Map([
    [`${name}-algorithm`, "AES256"],
    [`${name}-key`, key],
    [`${name}-key-md5`, md5],
  ]);
  return { key, md5, headers };
}

/** What `cp` and `sync` do. */
async function plainCopy(): Promise<void> {
  using from = await Deno.open(source);
  const path = join(test.node.config.data_dir, "copy");
  {
    using to = await Deno.open(path, { write: true, create: true, truncate: true });
    const buffer = new Uint8Array(1 << 20);
    for (let count; (count = await from.read(buffer)) !== null;) {
      await to.write(buffer.subarray(0, count));
    }
    await to.syncData();
  }
  await Deno.remove(path);
}

// curl is the client: it costs the two cores the least of all that are at hand.
async function curl(...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command("curl", {
    args: ["-sS", "--fail", "--http1.1", "--cacert", test.node.paths.tls.ca, ...args],
    stdout: "null",
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

const put = await getSignedUrl(s3, new PutObjectCommand({ Bucket: "bench", Key: "object" }), {
  expiresIn: 3600,
});
const ChecksumCRC32 = await crcOfSource();
const checkedPut = await getSignedUrl(
  s3,
  new PutObjectCommand({ Bucket: "bench", Key: "checked", ChecksumCRC32 }),
  { expiresIn: 3600, unhoistableHeaders: new Set([checksumHeader]) },
);
// The ETag of an object that is sealed under its client's key is not its MD5, as AWS has it.
const customers = customersKey();
const keyedPut = await getSignedUrl(
  s3,
  new PutObjectCommand({
    Bucket: "bench",
    Key: "keyed",
    ChecksumCRC32,
    SSECustomerAlgorithm: "AES256",
    SSECustomerKey: customers.key,
    SSECustomerKeyMD5: customers.md5,
  }),
  { expiresIn: 3600, unhoistableHeaders: new Set([checksumHeader, ...customers.headers.keys()]) },
);
const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "bench", Key: "object" }), {
  expiresIn: 3600,
});
const copies: number[] = [];
const puts: Measured[] = [];
const checkedPuts: Measured[] = [];
const keyedPuts: Measured[] = [];
const gets: Measured[] = [];
const barePuts: Measured[] = [];
const md5Puts: (Measured & { readonly client_ms: number })[] = [];
const bareGets: Measured[] = [];
const systemPuts: number[] = [];
const systemGets: number[] = [];
const barePort = freePort();
const bareProcess = new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "-A",
    "--no-check",
    new URL("./bare_https.ts", import.meta.url).pathname,
    String(barePort),
    test.node.paths.tls.cert,
    test.node.paths.tls.key,
  ],
  env: quickCopies,
  stdout: "piped",
}).spawn();
const said = bareProcess.stdout.getReader();
await said.read();
const bare = `https://localhost:${barePort}/?bytes=${size}`;
using store = new ObjectStore(test.node.paths.s3System, "mulga-blocks");
const chunk = new Uint8Array(4 << 20);
crypto.getRandomValues(chunk.subarray(0, 65_536));
const chunks = Math.ceil(size / chunk.length);
const { pid } = test.process();
const crc = `${checksumHeader}: ${ChecksumCRC32}`;
const keyed = customers.headers.entries().flatMap(([name, value]) => ["-H", `${name}: ${value}`]);
const keyedArgs = ["-T", source, "-H", crc, ...keyed, keyedPut];
await curl("-T", source, put);
for (let round = 0; round < rounds; round++) {
  copies.push(await seconds(plainCopy));
  barePuts.push(await measure(bareProcess.pid, () => curl("-T", source, bare)));
  const clientBefore = endedChildrenTime();
  const md5Put = await measure(bareProcess.pid, () => curl("-T", source, `${bare}&md5`));
  md5Puts.push({ ...md5Put, client_ms: (endedChildrenTime() - clientBefore) / 1000 });
  checkedPuts.push(await measure(pid, () => curl("-T", source, "-H", crc, checkedPut)));
  keyedPuts.push(await measure(pid, () => curl(...keyedArgs)));
  puts.push(await measure(pid, () => curl("-T", source, put)));
  bareGets.push(await measure(bareProcess.pid, () => curl("-o", "/dev/null", bare)));
  gets.push(await measure(pid, () => curl("-o", "/dev/null", get)));
  systemPuts.push(
    await seconds(async () => {
      for (let at = 0; at < chunks; at++) await store.put(`chunk/${at}`, chunk);
    }),
  );
  systemGets.push(
    await seconds(async () => {
      for (let at = 0; at < chunks; at++) await store.get(`chunk/${at}`);
    }),
  );
}
bareProcess.kill("SIGKILL");
await said.cancel();
await bareProcess.status;

function tell(name: string, mine: readonly number[], peer: readonly number[], of: string): void {
  const ratio = median(mine.map((one, at) => (peer[at] ?? NaN) / one));
  console.log(JSON.stringify({
    name,
    ratio: Number(ratio.toFixed(2)),
    detail: `${(size / 1e6 / median(mine)).toFixed(0)} MB/s against ${
      (size / 1e6 / median(peer)).toFixed(0)
    } MB/s of ${of}, ${rounds} rounds of ${mebibytes} MiB`,
  }));
}

function tellBeside(
  name: string,
  mine: readonly Measured[],
  peer: readonly Measured[],
  behind = "and nothing behind it",
): void {
  const each = (of: readonly Measured[], what: "thread_ms" | "process_ms") =>
    (median(of.map((one) => one[what])) / mebibytes).toFixed(2);
  const rate = (of: readonly Measured[]) =>
    (size / 1e6 / median(of.map((one) => one.seconds))).toFixed(0);
  const ratio = median(mine.map((one, at) => (peer[at]?.seconds ?? NaN) / one.seconds));
  console.log(JSON.stringify({
    name,
    ratio: Number(ratio.toFixed(2)),
    detail: `${rate(mine)} MB/s against ${rate(peer)} MB/s of a bare process ${behind}, ` +
      `${rounds} rounds of ${mebibytes} MiB; processor time of a MiB: ` +
      `${each(mine, "process_ms")} ms, of which the request thread ${
        each(mine, "thread_ms")
      } ms, ` +
      `against ${each(peer, "process_ms")} ms and ${each(peer, "thread_ms")} ms`,
  }));
}

const took = (of: readonly Measured[]) => of.map((one) => one.seconds);
const copy = "a plain copy to a synced file";
tellBeside("s3_put_crc32_tls_to_bare", checkedPuts, barePuts);
tellBeside("s3_put_crc32_tls_to_md5", checkedPuts, md5Puts, "and only MD5 on another thread");
{
  // What the bare process, its MD5 and the client compute, on all processors at once.
  const all = median(md5Puts.map(({ process_ms, client_ms }) => process_ms + client_ms));
  const least = all / navigator.hardwareConcurrency / 1000;
  const reached = median(took(checkedPuts));
  console.log(JSON.stringify({
    name: "s3_put_crc32_tls_to_processors",
    ratio: Number((least / reached).toFixed(2)),
    detail: `${(size / 1e6 / reached).toFixed(0)} MB/s against ${
      (size / 1e6 / least).toFixed(0)
    } MB/s, if receiving and MD5 with nothing behind them, and the client, kept ${navigator.hardwareConcurrency} processors busy: ${
      (all / mebibytes).toFixed(2)
    } ms a MiB`,
  }));
}
tellBeside("s3_put_crc32_customers_key_tls_to_bare", keyedPuts, barePuts);
tellBeside("s3_put_tls_to_bare", puts, barePuts);
tellBeside("s3_get_tls_to_bare", gets, bareGets);
tell("s3_put_tls_stream", took(puts), copies, copy);
tell("s3_get_tls_stream", took(gets), copies, copy);
tell("s3_put_system_4mib", systemPuts, copies, copy);
tell("s3_get_system_4mib", systemGets, copies, copy);

// Small objects go by the system's door: an HTTPS client of equal speed would take a core.
const small = new Uint8Array(4096);
crypto.getRandomValues(small);
const clients = 32;
const small_objects = 5000;

interface Rate {
  readonly per_second: number;
  /** Of the request thread, for each. */
  readonly thread_ms: number;
}

/** So many clients at once. */
async function rate(
  pid: number,
  count: number,
  one: (at: number) => Promise<unknown>,
): Promise<Rate> {
  let next = 0;
  const { seconds, thread_ms } = await measure(pid, async () => {
    await Promise.all(Array.from({ length: clients }, async () => {
      while (next < count) await one(next++);
    }));
  });
  return { per_second: count / seconds, thread_ms: thread_ms / count };
}

const told = ({ per_second, thread_ms }: Rate) =>
  `${per_second.toFixed(0)}/s (${thread_ms.toFixed(3)} ms of the request thread each)`;

const medianRate = (of: readonly Rate[]): Rate => ({
  per_second: median(of.map((one) => one.per_second)),
  thread_ms: median(of.map((one) => one.thread_ms)),
});

/** Of small requests, in each round. */
const small_rates = { puts: [], gets: [], barePuts: [], bareGets: [] } as Record<
  "puts" | "gets" | "barePuts" | "bareGets",
  Rate[]
>;
const bareSocket = join(test.node.config.data_dir, "bare.sock");
const bareSmall = new Deno.Command(Deno.execPath(), {
  args: [
    "run",
    "-A",
    "--no-check",
    new URL("./bare_small.ts", import.meta.url).pathname,
    bareSocket,
  ],
  stdout: "piped",
}).spawn();
const bareSaid = bareSmall.stdout.getReader();
await bareSaid.read();
using bareStore = new ObjectStore(bareSocket, "bare");
for (let round = 0; round < rounds; round++) {
  const name = (at: number) => `small/${round}/${String(at).padStart(8, "0")}`;
  const { puts, gets, barePuts, bareGets } = small_rates;
  const bare = bareSmall.pid;
  barePuts.push(await rate(bare, small_objects, (at) => bareStore.put(name(at), small)));
  bareGets.push(await rate(bare, small_objects, (at) => bareStore.get(name(at))));
  puts.push(await rate(pid, small_objects, (at) => store.put(name(at), small)));
  gets.push(await rate(pid, small_objects, (at) => store.get(name(at))));
}
bareSmall.kill("SIGKILL");
await bareSaid.cancel();
await bareSmall.status;

function tellRate(name: string, goal: number, rates: readonly Rate[], bare: readonly Rate[]): void {
  const reached = medianRate(rates);
  const [first = reached] = rates;
  console.log(JSON.stringify({
    name,
    ratio: Number((reached.per_second / goal).toFixed(2)),
    detail: `${
      told(reached)
    }, ${rounds} rounds of ${small_objects}, in the first of which the process is cold: ${
      told(first)
    }; ${clients} clients by the system's door; a bare process with nothing behind it: ${
      told(medianRate(bare))
    }`,
  }));
}

tellRate("s3_put_4kib_to_3000_a_second", 3000, small_rates.puts, small_rates.barePuts);
tellRate("s3_get_4kib_to_10000_a_second", 10_000, small_rates.gets, small_rates.bareGets);
// Many streams at once keep all processors busy, and do not grow the process.
const streams = 32;
const piece = join(test.node.config.data_dir, "piece");
await Deno.writeFile(piece, new Uint8Array(16 << 20));
const cores = navigator.hardwareConcurrency;

/** One stream for each key, all at once; what the processors did meanwhile. */
async function together(
  client: (url: string) => string[],
  command: (at: number) => GetObjectCommand | PutObjectCommand,
) {
  const urls = await Promise.all(
    Array.from(
      { length: streams },
      (_, at) => getSignedUrl(s3, command(at), { expiresIn: 3600 }),
    ),
  );
  const clientsBefore = endedChildrenTime();
  const { seconds, process_ms } = await measure(pid, async () => {
    await Promise.all(urls.map((url) => curl(...client(url))));
  });
  const all_ms = seconds * 1000 * cores;
  return {
    rate: `${(streams * 16.777 / seconds).toFixed(0)} MB/s`,
    ours: process_ms / all_ms,
    clients: (endedChildrenTime() - clientsBefore) / 1000 / all_ms,
  };
}

const written = await together(
  (url) => ["-T", piece, url],
  (at) => new PutObjectCommand({ Bucket: "bench", Key: `stream/${at}` }),
);
const read = await together(
  (url) => ["-o", "/dev/null", url],
  (at) => new GetObjectCommand({ Bucket: "bench", Key: `stream/${at}` }),
);
for (const [name, { rate, ours, clients }] of [["put", written], ["get", read]] as const) {
  console.log(JSON.stringify({
    name: `s3_32_streams_${name}_cores`,
    ratio: Number((ours + clients).toFixed(2)),
    detail: `of ${cores} processors' time: predastore ${(100 * ours).toFixed(0)} %, its clients ${
      (100 * clients).toFixed(0)
    } %; ${streams} streams of 16 MiB over TLS at once, ${rate}`,
  }));
}
const status = await Deno.readTextFile(`/proc/${test.process().pid}/status`);
const peak = Number(/VmHWM:\s+(\d+) kB/.exec(status)?.[1]) / 1024;
console.log(JSON.stringify({
  name: "s3_32_streams_memory",
  ratio: Number((400 / peak).toFixed(2)),
  detail: `${peak.toFixed(0)} MiB at most over this whole run, against 400 MiB`,
}));
s3.destroy();
