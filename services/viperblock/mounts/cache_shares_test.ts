import assert from "node:assert/strict";
import { testLog } from "../../../tests/kit/nats.ts";
import { CacheShares } from "./cache_shares.ts";

Deno.test("each volume has an equal share of what the disk has room for, and those that are left have one together", () => {
  const given: string[] = [];
  const volume = (name: string, keptBytes: number) => ({
    keptBytes,
    allowCache: (files: number, exactly: boolean) => void given.push(`${name} ${files} ${exactly}`),
  });
  const left = {
    bytes: 0,
    any: false,
    shrink: (files: number) => Promise.resolve(void given.push(`left ${files}`)),
  };
  const mounted = new Map<string, ReturnType<typeof volume>>();
  const shares = new CacheShares({
    mounted,
    left,
    files: (keptBytes, shares) => (240 + keptBytes) / shares,
    log: testLog,
  });
  assert.equal(shares.ofAnother, 240);
  mounted.set("a", volume("a", 40)).set("b", volume("b", 20));
  assert.equal(shares.ofAnother, 100);
  Object.assign(left, { bytes: 60, any: true });
  assert.equal(shares.keptBytes, 120);
  assert.equal(shares.ofAnother, 90);
  shares.share();
  assert.deepEqual(given.splice(0), ["a 120 false", "b 120 false", "left 120"]);
  // Somebody needs the room: what nobody uses is the first to go.
  shares.share(true);
  assert.deepEqual(given, ["a 120 true", "b 120 true", "left 0"]);
});

Deno.test("nothing is kept where nothing says how much may be", () => {
  const given: number[] = [];
  const volume = { keptBytes: 0, allowCache: (files: number) => void given.push(files) };
  const shares = new CacheShares({
    mounted: new Map([["a", volume]]),
    left: { bytes: 0, any: false, shrink: () => Promise.resolve() },
    files: undefined,
    log: testLog,
  });
  shares.share();
  assert.deepEqual([shares.ofAnother, ...given], [0, 0]);
});
