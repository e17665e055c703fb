import assert from "node:assert/strict";
import { seeded } from "../../../tests/kit/random.ts";
import { joined } from "../../aws/bytes.ts";
import { RemoteNegotiation } from "./remote_negotiation.ts";

const flags = new Uint8Array([0, 0, 0, 3]);

function option(kind: number, data: Uint8Array = new Uint8Array(0)): Uint8Array<ArrayBuffer> {
  const head = new Uint8Array(16);
  const view = new DataView(head.buffer);
  view.setBigUint64(0, 0x49484156454f5054n);
  view.setUint32(8, kind);
  view.setUint32(12, data.length);
  return joined([head, data]);
}

const go = option(7, new Uint8Array([0, 0, 0, 5, ...new TextEncoder().encode("vol-1"), 0, 0]));
const kinds = (answers: readonly Uint8Array[]) =>
  answers.map((bytes) => new DataView(bytes.buffer).getUint32(12));

Deno.test("in the clear nothing is to be had but TLS", () => {
  const client = new RemoteNegotiation();
  const { next, answers } = client.feed(
    joined([flags, option(3), option(8), go, option(5, new Uint8Array(1)), option(5)]),
  );
  assert.equal(next, "tls");
  assert.deepEqual(kinds(answers), [0x80000005, 0x80000005, 0x80000005, 0x80000003, 1]);
  assert.equal(
    new RemoteNegotiation().feed(joined([flags, option(1, new TextEncoder().encode("vol-1"))]))
      .next,
    "close",
  );
});

Deno.test("what comes in the clear behind STARTTLS is not taken for what came inside it", () => {
  assert.equal(new RemoteNegotiation().feed(joined([flags, option(5), go])).next, "close");
});

Deno.test("the engine hears what was agreed, and the client no answer twice", () => {
  const client = new RemoteNegotiation();
  client.feed(joined([flags, option(5)]));
  client.isSecure = true;
  assert.deepEqual(kinds(client.feed(joined([option(11), option(3), option(8)])).answers), [
    0x80000001,
    0x80000002,
    1,
  ]);
  const step = client.feed(go);
  assert.ok(step.next === "volume");
  assert.equal(step.name, "vol-1");
  assert.deepEqual(step.input, joined([flags, option(8), go]));
  assert.equal(step.known, 18 + 20);
});

Deno.test("who was turned away is not heard any more", () => {
  const client = new RemoteNegotiation();
  client.feed(joined([flags, option(5)]));
  client.isSecure = true;
  assert.equal(client.feed(option(2)).next, "close");
  assert.deepEqual(client.feed(go), { next: "close", answers: [] });
  const other = new RemoteNegotiation();
  assert.equal(other.feed(new Uint8Array(4)).next, "close");
  assert.deepEqual(other.feed(joined([flags, option(5)])), { next: "close", answers: [] });
});

Deno.test("whatever bytes come, it neither throws nor serves in the clear", () => {
  seeded((random) => {
    for (let round = 0; round < 500; round++) {
      const client = new RemoteNegotiation();
      const bytes = joined([
        flags,
        ...Array.from({ length: 4 }, () => {
          const made = random.below(2) === 0 ? go.slice() : option(random.below(12));
          if (random.below(2) === 0) made[random.below(made.length)] = random.below(256);
          return made;
        }),
      ]);
      for (let at = 0; at < bytes.length;) {
        const end = at + 1 + random.below(40);
        const { next } = client.feed(bytes.subarray(at, end));
        assert.notEqual(next, "volume");
        if (next !== "more") break;
        at = end;
      }
    }
  });
});

Deno.test("an endless row of options ends", () => {
  const client = new RemoteNegotiation();
  let next = client.feed(flags).next;
  for (let i = 0; i < 100 && next === "more"; i++) next = client.feed(option(3)).next;
  assert.equal(next, "close");
});
