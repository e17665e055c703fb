import assert from "node:assert/strict";
import { encodeJpeg, type Picture } from "./jpeg.ts";
import { readPpm, screenshotJpeg } from "./screenshot.ts";

const picture = (width: number, height: number, at: (index: number) => number): Picture => ({
  width,
  height,
  rgb: Uint8Array.from({ length: width * height * 3 }, (_, index) => at(index) & 255),
});
const decoded = (jpeg: Uint8Array) =>
  createImageBitmap(new Blob([jpeg.slice()], { type: "image/jpeg" }));

Deno.test("a picture of any size is a JPEG that others read", async () => {
  for (const [width, height] of [[1, 1], [8, 8], [13, 9], [80, 60]] as const) {
    const jpeg = await encodeJpeg(picture(width, height, (index) => index * 37), 90);
    const bitmap = await decoded(jpeg);
    assert.deepEqual([bitmap.width, bitmap.height], [width, height]);
    // What is cut short is not: the decoder did read it to its end.
    if (width > 8) await assert.rejects(decoded(jpeg.slice(0, 300)));
  }
});

Deno.test("the encoding is the one whose pixels were compared with another decoder's", async () => {
  // Decoded by an independent decoder: 5.9 of 255 away on average, in a picture of pure noise.
  const jpeg = await encodeJpeg(
    picture(13, 9, (index) => index * 37 + Math.floor(index / 39) * 11),
    90,
  );
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", jpeg)).toHex();
  assert.equal(digest, "6176e94d9fd9a5056e115b5d13b3ef90624a4d7b5dada081aff5d9bdaa6cfa7c");
});

Deno.test("a screen of noise is made small enough to be answered", async () => {
  let state = 1;
  const noise = picture(160, 100, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state >>> 16;
  });
  assert.ok((await screenshotJpeg(noise, 12_000)).length < 12_000);
});

Deno.test("a dump of a screen is read whole, or not at all", () => {
  const bytes = Uint8Array.from(
    [..."P6\n2 1\n255\n"].map((one) => one.charCodeAt(0)).concat([
      ...[1, 2, 3, 4, 5, 6],
    ]),
  );
  assert.deepEqual(readPpm(bytes), { width: 2, height: 1, rgb: bytes.subarray(11) });
  assert.throws(() => readPpm(bytes.subarray(0, 15)), TypeError);
  assert.throws(() => readPpm(new TextEncoder().encode("P5\n1 1\n255\n0")), TypeError);
});
