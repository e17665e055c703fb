import assert from "node:assert/strict";
import { type Random, seeded } from "../../../tests/kit/random.ts";
import { hello, Negotiation } from "./nbd_negotiation.ts";
import { transmissionFlags } from "./nbd_protocol.ts";

const served = { name: "vol-1", sizeBytes: 1 << 30 };
const text = (value: string) => new TextEncoder().encode(value);

function option(kind: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const bytes = new Uint8Array(16 + data.length);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, 0x49484156454f5054n);
  view.setUint32(8, kind);
  view.setUint32(12, data.length);
  bytes.set(data, 16);
  return bytes;
}

function wanting(name: string, ...kinds: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(6 + name.length + kinds.length * 2);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, name.length);
  bytes.set(text(name), 4);
  view.setUint16(4 + name.length, kinds.length);
  for (const [i, kind] of kinds.entries()) view.setUint16(6 + name.length + i * 2, kind);
  return bytes;
}

const flags = (value: number) => new Uint8Array(new Uint8Array([0, 0, 0, value]));

const join = (...parts: readonly Uint8Array[]) =>
  new Uint8Array(parts.flatMap((part) => [...part]));

/** The kinds of the option replies. */
const kinds = (answers: readonly Uint8Array[]) =>
  answers.map((bytes) => new DataView(bytes.buffer).getUint32(12));

Deno.test("the server's greeting is fixed newstyle", () => {
  assert.equal(new TextDecoder().decode(hello().subarray(0, 16)), "NBDMAGICIHAVEOPT");
});

Deno.test("GO answers the export, the infos that were asked for, and an acknowledgement", () => {
  const input = join(flags(3), option(7, wanting("vol-1", 3, 1)));
  const { answers, next, used } = new Negotiation(served).feed(input);
  assert.equal(next, "transmit");
  assert.equal(used, input.length);
  assert.deepEqual(kinds(answers), [3, 3, 3, 1]);
  const info = new DataView(answers[0]!.buffer);
  assert.equal(info.getBigUint64(22), 1n << 30n);
  assert.equal(info.getUint16(30), transmissionFlags(served, false));
});

Deno.test("the export's old way in answers with padding unless that was declined", () => {
  const padded = new Negotiation(served).feed(join(flags(1), option(1, text("vol-1"))));
  assert.equal(padded.answers[0]?.length, 134);
  const plain = new Negotiation(served).feed(join(flags(3), option(1)));
  assert.equal(plain.answers[0]?.length, 10);
  assert.equal(plain.next, "transmit");
  const wrong = new Negotiation(served).feed(join(flags(3), option(1, text("vol-2"))));
  assert.deepEqual([wrong.next, wrong.answers], ["close", []]);
});

Deno.test("what is not offered is refused by option, and negotiation goes on", () => {
  const { answers, next } = new Negotiation(served).feed(
    join(
      flags(3),
      option(5),
      option(11),
      option(6, wanting("other")),
      option(3, text("x")),
      option(3),
    ),
  );
  assert.equal(next, "more");
  assert.deepEqual(kinds(answers), [0x80000001, 0x80000001, 0x80000006, 0x80000003, 2, 1]);
});

/** The payload of LIST or SET_META_CONTEXT. */
function contexts(name: string, ...queries: readonly string[]): Uint8Array {
  const sized = (value: string) => {
    const bytes = new Uint8Array(4 + value.length);
    new DataView(bytes.buffer).setUint32(0, value.length);
    bytes.set(text(value), 4);
    return bytes;
  };
  return join(sized(name), new Uint8Array([0, 0, 0, queries.length]), ...queries.map(sized));
}

Deno.test("contexts are listed and set only with structured replies, and only for this export", () => {
  const early = new Negotiation(served);
  assert.deepEqual(
    kinds(early.feed(join(flags(3), option(10, contexts("vol-1", "base:allocation")))).answers),
    [0x80000003],
  );
  assert.equal(early.allocation, false);
  const client = new Negotiation(served);
  const { answers } = client.feed(join(
    flags(3),
    option(8, text("x")),
    option(8),
    option(9, contexts("vol-1")),
    option(9, contexts("vol-1", "base:")),
    option(9, contexts("vol-1", "qemu:dirty-bitmap")),
    option(9, contexts("other")),
    option(10, contexts("", "base:allocation")),
  ));
  assert.deepEqual(kinds(answers), [0x80000003, 1, 4, 1, 4, 1, 1, 0x80000006, 4, 1]);
  assert.deepEqual([client.structured, client.allocation], [true, true]);
  // A later SET takes its place, whatever becomes of it; "base:" chooses nothing.
  for (const next of [contexts("vol-1", "base:"), contexts("vol-1"), text("?")]) {
    client.feed(option(10, contexts("vol-1", "base:allocation")));
    assert.equal(client.allocation, true);
    client.feed(option(10, next));
    assert.equal(client.allocation, false);
  }
});

Deno.test("what the export may do is said by its flags", () => {
  const DF = 128;
  const readOnly = 2;
  const told = (of: typeof served & { readOnly?: boolean }, ...first: readonly Uint8Array[]) => {
    const { answers } = new Negotiation(of).feed(
      join(flags(3), ...first, option(1, text("vol-1"))),
    );
    const last = answers.at(-1) as Uint8Array;
    return new DataView(last.buffer).getUint16(8);
  };
  assert.equal(told(served) & (DF | readOnly), 0);
  assert.equal(told(served, option(8)) & (DF | readOnly), DF);
  assert.equal(told({ ...served, readOnly: true }) & (DF | readOnly), readOnly);
});

Deno.test("lying lengths inside an option are refused, lying lengths of one end the connection", () => {
  const cut = wanting("vol-1", 3).subarray(0, 9);
  const long = wanting("vol-1", 3);
  new DataView(long.buffer).setUint32(0, 0xffffffff);
  const { answers } = new Negotiation(served).feed(
    join(flags(3), option(7, cut), option(7, long), option(7)),
  );
  assert.deepEqual(kinds(answers), [0x80000003, 0x80000003, 0x80000003]);
  const huge = option(7);
  new DataView(huge.buffer).setUint32(12, 1 << 30);
  assert.equal(new Negotiation(served).feed(join(flags(3), huge)).next, "close");
  assert.equal(new Negotiation(served).feed(flags(0)).next, "close");
  assert.equal(new Negotiation(served).feed(flags(0x13)).next, "close");
});

Deno.test("however the bytes are cut up, and whatever they are, the parser neither throws nor differs", () => {
  seeded((random: Random) => {
    for (let round = 0; round < 300; round++) {
      const parts: Uint8Array[] = [flags(random.below(12) === 0 ? random.below(256) : 3)];
      for (let i = 0; i < 5; i++) {
        const made = option(
          random.below(12),
          [wanting("vol-1", 3), text("vol"), contexts("vol-1", "base:allocation"), text("")][
            random.below(4)
          ],
        );
        if (random.below(4) === 0) made[random.below(made.length)] = random.below(256);
        parts.push(made);
      }
      const input = join(...parts);
      const whole = new Negotiation(served).feed(input);
      const piecewise = new Negotiation(served);
      const answers: Uint8Array[] = [];
      let from = 0;
      let next = "more";
      for (let end = 1; end <= input.length && next === "more"; end += 1 + random.below(20)) {
        const result = piecewise.feed(input.slice(from, end));
        from += result.used;
        answers.push(...result.answers);
        next = result.next;
      }
      if (next === "more") {
        const result = piecewise.feed(input.slice(from));
        answers.push(...result.answers);
        next = result.next;
      }
      assert.equal(next, whole.next);
      assert.deepEqual(answers, whole.answers);
    }
  });
});
