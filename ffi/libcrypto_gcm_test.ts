import assert from "node:assert/strict";
import { createDecipheriv } from "node:crypto";
import { AesGcm, gcmTagBytes, NotAuthentic } from "./libcrypto_gcm.ts";

// Where libipsec-mb is not there both are OpenSSL.
for (const quickest of [true, false]) {
  const by = quickest ? "by what is quickest here" : "by OpenSSL";
  Deno.test(`AES-256-GCM has the published test vectors, ${by}`, async () => {
    // Test cases 13 and 14 of the GCM specification.
    using cipher = new AesGcm(new Uint8Array(32), quickest);
    const empty = new Uint8Array(gcmTagBytes);
    await cipher.seal(new Uint8Array(12), new Uint8Array(0), empty);
    assert.equal(empty.toHex(), "530f8afbc74536b9a963b4f1c4cb738b");
    const one = new Uint8Array(32);
    await cipher.seal(new Uint8Array(12), new Uint8Array(16), one);
    assert.equal(one.toHex(), "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
  });

  Deno.test(`what was sealed opens, here and elsewhere, and nothing altered does, ${by}`, async () => {
    const key = crypto.getRandomValues(new Uint8Array(32));
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    using cipher = new AesGcm(key, quickest);
    for (const length of [1, 1000, 32_768, 32_769, 262_144, 2_000_000]) {
      const plain = new Uint8Array(length).map((_, at) => at * 7);
      const sealed = new Uint8Array(length + gcmTagBytes);
      await cipher.seal(nonce, plain, sealed);
      const other = createDecipheriv("aes-256-gcm", key, nonce);
      other.setAuthTag(sealed.subarray(length));
      assert.ok(
        Buffer.concat([other.update(sealed.subarray(0, length)), other.final()]).equals(plain),
      );
      const back = new Uint8Array(length);
      await cipher.open(nonce, sealed, back);
      assert.deepEqual(back, plain);
      const atOnce = new Uint8Array(length + gcmTagBytes);
      cipher.sealNow(nonce, plain, atOnce);
      assert.deepEqual(atOnce, sealed);
      cipher.openNow(nonce, sealed, back.fill(0));
      assert.deepEqual(back, plain);
      sealed[length >> 1] = (sealed[length >> 1] ?? 0) ^ 1;
      await assert.rejects(cipher.open(nonce, sealed, back), NotAuthentic);
      assert.ok(back.every((byte) => byte === 0));
      assert.throws(() => cipher.openNow(nonce, sealed, back), NotAuthentic);
    }
  });

  Deno.test(`what stands in several places opens as if it stood in one, wherever it is cut, ${by}`, async () => {
    using cipher = new AesGcm(crypto.getRandomValues(new Uint8Array(32)), quickest);
    const nonce = crypto.getRandomValues(new Uint8Array(12));
    for (const length of [1, 40, 100_000, 1_200_000]) {
      const plain = new Uint8Array(length).map((_, at) => at * 7);
      const sealed = new Uint8Array(length + gcmTagBytes);
      await cipher.seal(nonce, plain, sealed);
      for (const cut of [0, 1, length - 1, length, length + 1, length + 15, length + 16]) {
        for (const second of [cut, Math.min(cut + 3, sealed.length), sealed.length]) {
          const parts = [sealed.slice(0, cut), sealed.slice(cut, second), sealed.slice(second)];
          const back = new Uint8Array(length);
          await cipher.openParts(nonce, parts, back);
          assert.deepEqual(back, plain);
          const altered = parts.find((part) => part.length > 0) ?? parts[0] ?? new Uint8Array();
          altered[0] = (altered[0] ?? 0) ^ 1;
          await assert.rejects(cipher.openParts(nonce, parts, back), NotAuthentic);
        }
      }
      await assert.rejects(cipher.openParts(nonce, [sealed.slice(1)], plain.slice()), RangeError);
    }
  });
}

Deno.test("a cipher that is disposed of before its work is over refuses what is left of it", async () => {
  const key = new Uint8Array(32);
  const nonce = new Uint8Array(12);
  // What is worked on here, and by another thread.
  for (const length of [1024, 4 << 20]) {
    const plain = new Uint8Array(length);
    const sealed = new Uint8Array(length + 16);
    for (const quickest of [true, false]) {
      const works: ((cipher: AesGcm) => Promise<unknown>)[] = [
        (cipher) => cipher.seal(nonce, plain, sealed),
        (cipher) => cipher.open(nonce, sealed, plain),
        (cipher) => cipher.openParts(nonce, [sealed.subarray(0, 100), sealed.subarray(100)], plain),
        (cipher) => cipher.openInPlace(nonce, [sealed]),
      ];
      for (const work of works) {
        const cipher = new AesGcm(key, quickest);
        const working = work(cipher);
        cipher[Symbol.dispose]();
        await assert.rejects(working, /released/);
      }
    }
  }
});

Deno.test("a cipher that another thread works with is in use, also for who began before", async () => {
  const plain = new Uint8Array(4 << 20);
  const nonce = new Uint8Array(12);
  using cipher = new AesGcm(new Uint8Array(32), false);
  const opened = new Uint8Array(plain.length + 100 - gcmTagBytes);
  const first = cipher.openParts(nonce, [plain.subarray(0, 100), plain], opened);
  // It has begun, and goes on with its long part only after this.
  const second = cipher.openParts(nonce, [plain, plain.subarray(0, 100)], opened.slice());
  const ends = await Promise.allSettled([first, second]);
  assert.deepEqual(ends.map(({ status }) => status), ["rejected", "rejected"]);
  assert.ok(ends.some((end) => end.status === "rejected" && /in use/.test(`${end.reason}`)));
});
