import assert from "node:assert/strict";
import { readChoice, withChoice } from "./boot_variables.ts";
import { formatStore, globalVendor, parseStore } from "./variable_store.ts";

/** Written by U-Boot 2025.01 itself: two entries made at its prompt, an order, and a next start. */
const byUBoot = Uint8Array.fromBase64(
  "AAAAAAAAAABVYkVmaVZhAcgCAACwga8snAAAAAcAAAAAAAAAAAAAAGHf5IvKk9IRqg0A4JgDK4xCAG8AbwB0ADAAMAAw" +
    "ADAAAAABAAAAdAB2AGkAcgB0AGkAbwAgADAAAAABBBwAuXMd5oSjzEquq4LoKPNiiwAAAAAAAAAAAQQcALlzHeaEo8xK" +
    "rquC6CjzYotVAAAAAAAAAAEEHAC5cx3mhKPMSq6rgugo82KLhgAAACEAAAABBBwAuXMd5oSjzEquq4LoKPNiixYAhgAA" +
    "AAAAf/8EAE6sCIERn1lNhQ7iGlIsWbIAAAYAAAAHAAAAAAAAAAAAAABh3+SLypPSEaoNAOCYAyuMUABsAGEAdABmAG8A" +
    "cgBtAEwAYQBuAGcAAABlbi1VUwBkAAAABwAAAAAAAAAAAAAAYd/ki8qT0hGqDQDgmAMrjEIAbwBvAHQAMAAwADAAMQAA" +
    "AAEAAABUAGcAbwBvAGQAAAAEASoAAQAAAAAIAAAAAAAAQA0DAAAAAAC1ModXKRxNM70tBAazjKXcAgIEBCYAXABFAEYA" +
    "SQBcAEwAaQBuAHUAeABcAGEALgBlAGYAaQAAAH//BAAAAGYAAAAHAAAAAAAAAAAAAABh3+SLypPSEaoNAOCYAyuMQgBv" +
    "AG8AdAAwADAAMAAyAAAAAQAAAFQAdAByAGkAYQBsAAAABAEqAAEAAAAACAAAAAAAAEANAwAAAAAAtTKHVykcTTO9LQQG" +
    "s4yl3AICBAQmAFwARQBGAEkAXABMAGkAbgB1AHgAXABhAC4AZQBmAGkAAAB//wQAAgAAAAcAAAAAAAAAAAAAAGHf5IvK" +
    "k9IRqg0A4JgDK4xCAG8AbwB0AE8AcgBkAGUAcgAAAAEAAAACAAAABwAAAAAAAAAAAAAAYd/ki8qT0hGqDQDgmAMrjEIA" +
    "bwBvAHQATgBlAHgAdAAAAAIAAAAAAA==",
);

Deno.test("a file that U-Boot wrote is read, and comes out byte for byte when written again", () => {
  const variables = parseStore(byUBoot);
  assert.ok(variables !== undefined);
  assert.deepEqual(variables.map(({ name }) => name), [
    "Boot0000",
    "PlatformLang",
    "Boot0001",
    "Boot0002",
    "BootOrder",
    "BootNext",
  ]);
  assert.ok(variables.every(({ vendor }) => vendor === globalVendor));
  assert.deepEqual(formatStore(variables), byUBoot);
});

Deno.test("no damage to the file is taken for content", () => {
  for (let at = 0; at < byUBoot.length; at++) {
    const damaged = byUBoot.slice();
    damaged[at] = (damaged[at] ?? 0) ^ 0x10;
    assert.equal(parseStore(damaged), undefined, `byte ${at} changed`);
  }
  for (let length = 0; length < byUBoot.length; length++) {
    assert.equal(parseStore(byUBoot.slice(0, length)), undefined, `cut at ${length}`);
  }
});

Deno.test("entries of others stay, ours are replaced, and theirs are tried after ours", () => {
  const before = parseStore(byUBoot) ?? [];
  const first = withChoice(before, { order: ["a.efi", "b.efi"], next: "c.efi" });
  assert.deepEqual(readChoice(first), { order: ["a.efi", "b.efi"], next: "c.efi" });
  assert.deepEqual(
    first.map(({ name }) => name),
    [
      ...["Boot0000", "PlatformLang", "Boot0001", "Boot0002"],
      ...["Boot4D00", "Boot4D01", "Boot4DFF", "BootOrder", "BootNext"],
    ],
  );
  const order = first.find(({ name }) => name === "BootOrder");
  assert.equal(order?.data.toHex(), "004d014d0100", "Boot0001 was in the order and comes last");
  const second = withChoice(first, { order: ["c.efi"] });
  assert.deepEqual(readChoice(second), { order: ["c.efi"] });
  assert.ok(!second.some(({ name }) => name === "Boot4D01" || name === "BootNext"));
  assert.deepEqual(parseStore(formatStore(second)), second);
});
