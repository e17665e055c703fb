/**
 * A bucket of many keys: how fast it is listed over HTTPS, page by page, and whether a PUT is as fast in it as in
 * one of 1,000 keys. The two buckets are in two predastores, asked in turns, so that each has an index of its own
 * size; new keys come between those that are there, and go again after each round.
 *
 * PUTs, those that fill the buckets too, go by the delegate's door, which is HTTP without TLS: it is the index that is
 * measured.
 *
 * `deno task bench predastore_keys [-- --keys 1000000]`; a million keys take some minutes.
 */
import { CreateBucketCommand, DeleteObjectsCommand, type S3Client } from "@aws-sdk/client-s3";
import { parseArgs } from "node:util";
import { delegateHeaders } from "../../services/predastore/contract.ts";
import { accounts, startPredastore, type TestPredastore } from "../kit/predastore.ts";
import { measure, median } from "./predastore_processor.ts";
import { Connection } from "./raw_https.ts";
import { requestsOf } from "./signed_requests.ts";

const { values } = parseArgs({
  args: Deno.args,
  options: {
    keys: { type: "string", default: "20000" },
    rounds: { type: "string", default: "5" },
  },
});
const keys = Number(values.keys);
const rounds = Number(values.rounds);
if (!(keys >= 1000) || !(rounds >= 1)) {
  throw new Error("--keys is 1000 or more, --rounds 1 or more");
}

const few = 1000;
const putsEachRound = 1000;
/** After so many requests a process gets no quicker. */
const warm_puts = 20_000;
const clients = 32;
const Bucket = "many";
const { account_id } = accounts.AKIATEST;
const encoder = new TextEncoder();
const decoder = new TextDecoder();
const content = new Uint8Array(4096);
crypto.getRandomValues(content);
/** What the keys that are filled in have: a million of them must not take 8 GB. */
const filler = content.subarray(0, 16);

/** Multiples of this are filled in; what is new comes between them. */
const between = 8;
const keyOf = (number: number) => `folder/${String(number).padStart(9, "0")}`;

interface Measured extends AsyncDisposable {
  readonly test: TestPredastore;
  readonly s3: S3Client;
  readonly keys: number;
}

/** One PUT after the other on one connection. */
class Putter implements Disposable {
  readonly #connection: Deno.Conn;
  readonly #answer = new Uint8Array(4096);
  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  static async open({ node }: TestPredastore): Promise<Putter> {
    return new Putter(await Deno.connect({ transport: "unix", path: node.paths.s3Delegate }));
  }

  /** @throws when it is refused */
  async put(key: string, content: Uint8Array): Promise<void> {
    const head = encoder.encode(
      `PUT /${Bucket}/${key} HTTP/1.1\r\nhost: predastore\r\n` +
        `${delegateHeaders.accountId}: ${account_id}\r\n` +
        `${delegateHeaders.principalArn}: arn:aws:iam::${account_id}:user/bench\r\n` +
        `${delegateHeaders.accessKeyId}: AKIATEST\r\ncontent-length: ${content.length}\r\n\r\n`,
    );
    const request = new Uint8Array(head.length + content.length);
    request.set(head);
    request.set(content, head.length);
    for (let at = 0; at < request.length;) {
      at += await this.#connection.write(request.subarray(at));
    }
    let text = "";
    while (!text.endsWith("\r\n\r\n")) {
      const got = await this.#connection.read(this.#answer);
      if (got === null) throw new Error(`the connection ended: ${text}`);
      text += decoder.decode(this.#answer.subarray(0, got));
    }
    if (!text.startsWith("HTTP/1.1 200 ")) throw new Error(text);
  }

  [Symbol.dispose](): void {
    this.#connection.close();
  }
}

/** Puts the keys with these numbers. */
async function putAll(
  test: TestPredastore,
  count: number,
  number: (at: number) => number,
  content: Uint8Array,
): Promise<void> {
  let next = 0;
  await Promise.all(Array.from({ length: clients }, async () => {
    using putter = await Putter.open(test);
    while (next < count) {
      if (next % 100_000 === 0 && next > 0) console.log(`${next} keys`);
      await putter.put(keyOf(number(next++)), content);
    }
  }));
}

async function filled(count: number): Promise<Measured> {
  const test = await startPredastore({ identity_apart: true });
  const s3 = test.s3();
  await s3.send(new CreateBucketCommand({ Bucket }));
  const started = performance.now();
  await putAll(test, count, (at) => between * at, filler);
  const seconds = (performance.now() - started) / 1000;
  console.log(`${count} keys were put in ${seconds.toFixed(1)} s`);
  return {
    test,
    s3,
    keys: count,
    async [Symbol.asyncDispose]() {
      s3.destroy();
      await test[Symbol.asyncDispose]();
    },
  };
}

/** New keys at random places among those that are there; gone again in the end. */
async function putRound(on: Measured) {
  const numbers = new Set<number>();
  while (numbers.size < putsEachRound) {
    const number = Math.floor(Math.random() * on.keys * between);
    if (number % between !== 0) numbers.add(number);
  }
  const all = [...numbers];
  const { seconds, thread_ms } = await measure(
    on.test.process().pid,
    () => putAll(on.test, all.length, (at) => all[at] ?? 1, content),
  );
  await on.s3.send(
    new DeleteObjectsCommand({
      Bucket,
      Delete: { Quiet: true, Objects: all.map((number) => ({ Key: keyOf(number) })) },
    }),
  );
  return { per_second: all.length / seconds, thread_ms: thread_ms / all.length };
}

/** Goes through all pages by one connection. @returns how many keys there were */
async function list({ test }: Measured): Promise<number> {
  const { region, ports: { s3: port } } = test.node.config;
  using connection = await Connection.open(port, test.ca);
  const { secret } = accounts.AKIATEST;
  const host = `localhost:${port}`;
  const request = requestsOf({ access_key_id: "AKIATEST", secret, region, host });
  let token: string | undefined;
  let listed = 0;
  do {
    const query = {
      "list-type": "2",
      ...(token === undefined ? {} : { "continuation-token": token }),
    };
    const text = (await connection.exchange(request(`/${Bucket}`, query))).text();
    listed += Number(/<KeyCount>(\d+)</.exec(text)?.[1]);
    token = /<NextContinuationToken>([^<]*)</.exec(text)?.[1];
  } while (token !== undefined);
  return listed;
}

await using small = await filled(few);
await using large = await filled(keys);
// A process that has served few requests is slower: the one with few keys serves until it is as warm as the other can be.
for (let served = few; served < Math.min(keys, warm_puts); served += putsEachRound) {
  await putRound(small);
}
const puts: { few: number; many: number; few_ms: number; many_ms: number }[] = [];
for (const on of [small, large]) await putRound(on);
for (let round = 0; round < rounds; round++) {
  const inFew = await putRound(small);
  const inMany = await putRound(large);
  puts.push({
    few: inFew.per_second,
    many: inMany.per_second,
    few_ms: inFew.thread_ms,
    many_ms: inMany.thread_ms,
  });
}
const of = (name: keyof typeof puts[number]) => median(puts.map((one) => one[name]));
console.log(JSON.stringify({
  name: "s3_put_4kib_many_keys_to_few",
  ratio: Number(median(puts.map(({ few, many }) => many / few)).toFixed(2)),
  detail: `PUT by the delegate's door, ${clients} clients: ${of("many").toFixed(0)}/s (${
    of("many_ms").toFixed(3)
  } ms of the request thread each) at ${keys} keys against ${of("few").toFixed(0)}/s (${
    of("few_ms").toFixed(3)
  } ms) at ${few}, ${rounds} rounds of ${putsEachRound}`,
}));

let listed = 0;
const listing = await measure(large.test.process().pid, async () => {
  listed = await list(large);
});
if (listed !== keys) throw new Error(`${listed} keys of ${keys} were listed`);
console.log(JSON.stringify({
  name: "s3_list_50k_keys_a_second",
  ratio: Number((keys / listing.seconds / 50_000).toFixed(2)),
  detail:
    `${(keys / listing.seconds).toFixed(0)} keys/s of ${keys} over HTTPS, one client, pages of ` +
    `1,000, ${(listing.thread_ms / keys * 1000).toFixed(1)} µs of the request thread each, ` +
    `against 50,000`,
}));
