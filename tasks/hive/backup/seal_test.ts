import assert from "node:assert/strict";
import { generateRecoveryKey, type Lock, type Opener, seal, unseal } from "./seal.ts";

async function* pieces(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function bytesOf(stream: AsyncIterable<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  return new Uint8Array(await new Blob(await Array.fromAsync(stream)).arrayBuffer());
}

const phrase: Lock = { kind: "passphrase", passphrase: "correct horse" };
const opener: Opener = { passphrase: () => Promise.resolve("correct horse") };

Deno.test("what was sealed opens with its passphrase or recovery key, at every length", async () => {
  const { privateKey, publicKey } = await generateRecoveryKey();
  const both: [Lock, Opener][] = [
    [phrase, opener],
    [{ kind: "recipient", publicKey }, { privateKey: () => Promise.resolve(privateKey) }],
  ];
  for (const length of [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3_000_000]) {
    const content = crypto.getRandomValues(new Uint8Array(65536));
    const whole = new Uint8Array(length).map((_, at) => content[at & 0xffff] ?? 0);
    for (const [lock, open] of both) {
      const sealed = await bytesOf(seal(pieces(whole, 70_000), lock));
      assert.deepEqual(await bytesOf(unseal(pieces(sealed, 333_333), open)), whole, `${length}`);
    }
  }
});

Deno.test("another passphrase or key, and a file that was touched anywhere, do not open", async () => {
  const sealed = await bytesOf(seal(pieces(new Uint8Array(2_500_000).fill(1), 1 << 20), phrase));
  const open = (bytes: Uint8Array, by: Opener = opener) =>
    bytesOf(unseal(pieces(bytes, 1 << 18), by));
  await assert.rejects(
    open(sealed, { passphrase: () => Promise.resolve("wrong") }),
    /does not open/,
  );
  await assert.rejects(open(sealed, {}), /--passphrase-file/);
  const { publicKey, privateKey } = await generateRecoveryKey();
  const other = await generateRecoveryKey();
  const toKey = await bytesOf(
    seal(pieces(new Uint8Array(10), 10), { kind: "recipient", publicKey }),
  );
  await assert.rejects(
    open(toKey, { privateKey: () => Promise.resolve(other.privateKey) }),
    /does not open/,
  );
  await assert.rejects(open(toKey, opener), /--recovery-key/);
  await assert.rejects(
    open(toKey, { privateKey: () => Promise.resolve(privateKey.replace(/[A-Za-z]{6}/, "")) }),
    /recovery key/,
  );
  const end = sealed.indexOf(0x0a) + 1;
  for (const at of [end + 2, end + 500, sealed.length >> 1, sealed.length - 1]) {
    const bent = sealed.slice();
    bent[at] = (bent[at] ?? 0) ^ 1;
    await assert.rejects(open(bent), /does not open/, `byte ${at}`);
  }
  // Cut at a record's border, records in another order, one more behind the end.
  const size = 4 + (1 << 20) + 16;
  const cut = sealed.slice(0, end + size);
  await assert.rejects(open(cut), /does not open/);
  const [head, first, second, last] = [
    sealed.slice(0, end),
    sealed.slice(end, end + size),
    sealed.slice(end + size, end + 2 * size),
    sealed.slice(end + 2 * size),
  ];
  const join = (...parts: Uint8Array<ArrayBuffer>[]) =>
    new Blob(parts).arrayBuffer().then((buffer) => new Uint8Array(buffer));
  await assert.rejects(open(await join(head, second, first, last)), /does not open/);
  await assert.rejects(open(await join(head, first, last)), /does not open/);
  await assert.rejects(open(await join(head, first, second, last, last)), /does not open/);
});

Deno.test("what is no backup is said to be none", async () => {
  const text = (words: string) => pieces(new TextEncoder().encode(words), 1000);
  const cases = [
    "",
    "hello",
    "x".repeat(10_000),
    "{}\n",
    '{"format":"mulga-backup","v":1,"kind":"passphrase","salt":"AA","cost":1073741824}\n',
  ];
  for (const words of cases) {
    await assert.rejects(bytesOf(unseal(text(words), opener)), /no backup of MulgaOS/, words);
  }
  await assert.rejects(
    bytesOf(unseal(text('{"format":"mulga-backup","v":2}\n'), opener)),
    /format 2/,
  );
});
