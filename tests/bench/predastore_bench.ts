/**
 * S3 throughput of one predastore process over TLS, against a plain copy of the same bytes to a synced
 * file on the same file system in the same run. Ratios, interleaved round by round: absolute figures of
 * a busy machine mean nothing. One line of JSON for each figure.
 *
 * Run alone with `deno run -A tests/bench/predastore_bench.ts [MiB per object] [rounds]`.
 */
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";
import { join } from "node:path";
import { ObjectStore } from "../../services/predastore/contract.ts";
import { startPredastore } from "../kit/predastore.ts";

const mebibytes = Number(Deno.args[0] ?? 256);
const rounds = Number(Deno.args[1] ?? 3);
const size = mebibytes << 20;

async function seconds(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
}

const median = (values: readonly number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? NaN;

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
const get = await getSignedUrl(s3, new GetObjectCommand({ Bucket: "bench", Key: "object" }), {
  expiresIn: 3600,
});
const copies: number[] = [];
const puts: number[] = [];
const gets: number[] = [];
const systemPuts: number[] = [];
const systemGets: number[] = [];
using store = new ObjectStore(test.node.paths.s3System, "mulga-blocks");
const chunk = new Uint8Array(4 << 20);
crypto.getRandomValues(chunk.subarray(0, 65_536));
const chunks = Math.ceil(size / chunk.length);
await curl("-T", source, put);
for (let round = 0; round < rounds; round++) {
  copies.push(await seconds(plainCopy));
  puts.push(await seconds(() => curl("-T", source, put)));
  gets.push(await seconds(() => curl("-o", "/dev/null", get)));
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

s3.destroy();
tell("s3_put_tls_stream", puts, copies, "a plain copy to a synced file");
tell("s3_get_tls_stream", gets, copies, "a plain copy to a synced file");
tell("s3_put_system_4mib", systemPuts, copies, "a plain copy to a synced file");
tell("s3_get_system_4mib", systemGets, copies, "a plain copy to a synced file");
