/** Keys of clients' own as a hostile client might send them: whole often enough to seal and open, and wrong anywhere. */
import { createHash } from "node:crypto";
import type { Random } from "../kit/random.ts";

const sse = "x-amz-server-side-encryption";
const keyOf = (fill: number, length = 32) => new Uint8Array(length).fill(fill);

/** The headers of a whole key. */
export function wholeKey(key = keyOf(1), of = sse): Record<string, string> {
  return {
    [`${of}-customer-algorithm`]: "AES256",
    [`${of}-customer-key`]: key.toBase64(),
    [`${of}-customer-key-md5`]: createHash("md5").update(key).digest("base64"),
  };
}

/** That of what is there, most often; of another, and one of no length that a key has. */
const someKeys = [keyOf(1), keyOf(1), keyOf(2), keyOf(1, 16), keyOf(1, 0)];
const oddValues = ["", "AES", "x", "====", "AAAA", "%00"];

/** For one of five requests: a key, that of a copy's source, or both; sometimes with a header that is wrong or missing. */
export function hostileKeys(random: Random): (readonly [string, string])[] {
  if (random.below(5) > 0) return [];
  const source = `x-amz-copy-source-server-side-encryption`;
  const of = random.pick([[sse], [sse], [source], [sse, source]]);
  const headers = of.flatMap((one) => Object.entries(wholeKey(random.pick(someKeys), one)));
  if (random.below(4) > 0) return headers;
  const wrong = random.below(headers.length);
  return headers.flatMap(([name, value], at) => {
    if (at !== wrong) return [[name, value] as const];
    return random.below(2) === 0 ? [] : [[name, random.pick(oddValues)] as const];
  });
}
