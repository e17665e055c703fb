import assert from "node:assert/strict";
import { seeded } from "../../../../tests/kit/random.ts";
import {
  encode,
  maximumPayload,
  pair,
  parseConfig,
  parseHeader,
  parseInFlight,
  parseMemory,
  parsePair,
  parseRing,
  parseRingAddresses,
  parseRingEvent,
  ProtocolBroken,
} from "./protocol.ts";

const viewOf = (bytes: Uint8Array) => new DataView(bytes.buffer as ArrayBuffer);

Deno.test("a message that was encoded is a reply of version 1 with its length", () => {
  const bytes = encode(24, pair(1, 2));
  assert.deepEqual([...new Uint32Array(bytes.buffer as ArrayBuffer)], [24, 5, 8, 1, 2]);
});

Deno.test("headers of other versions, replies and payloads without measure are refused", () => {
  const header = (flags: number, length: number) =>
    viewOf(new Uint8Array(new Uint32Array([1, flags, length]).buffer));
  assert.deepEqual(parseHeader(header(9, 8)), { request: 1, needsReply: true, length: 8 });
  assert.throws(() => parseHeader(header(0, 8)), ProtocolBroken);
  assert.throws(() => parseHeader(header(2, 8)), ProtocolBroken);
  assert.throws(() => parseHeader(header(5, 8)), ProtocolBroken);
  assert.throws(() => parseHeader(header(1, maximumPayload + 1)), ProtocolBroken);
  assert.throws(() => parseHeader(header(1, 0xffff_ffff)), ProtocolBroken);
});

Deno.test("whatever a payload holds, it is understood or refused, and numbers stay in their bounds", async () => {
  await seeded((random) => {
    const parsers = [
      (view: DataView) => assert.ok(parsePair(view).high >= 0),
      (view: DataView) => assert.ok(parseRing(view).queue < 8),
      (view: DataView) => assert.ok(parseRingEvent(view).queue < 8),
      (view: DataView) => assert.ok(Number.isSafeInteger(parseRingAddresses(view).used)),
      (view: DataView) => {
        for (const { guest, length, offset } of parseMemory(view)) {
          assert.ok(length > 0 && guest % 4096 === 0 && offset % 4096 === 0);
          assert.ok(Number.isSafeInteger(guest + length) && Number.isSafeInteger(offset + length));
        }
      },
      (view: DataView) => {
        const { offset, length } = parseConfig(view);
        assert.ok(offset + length <= 256 && view.byteLength === 12 + length);
      },
      (view: DataView) => assert.ok(parseInFlight(view).queues <= 8),
    ];
    let understood = 0;
    for (let round = 0; round < 3000; round++) {
      const lengths = [0, 4, 8, 20, 24, 40, 72, 12, 13, 12 + random.below(260), random.below(300)];
      const bytes = new Uint8Array(random.pick(lengths));
      for (let at = 0; at < bytes.length; at++) {
        if (random.below(4) === 0) {
          bytes[at] = random.pick([0, 1, 2, 8, 16, 255, random.below(256)]);
        }
      }
      for (const parse of parsers) {
        try {
          parse(viewOf(bytes));
          understood++;
        } catch (error) {
          if (!(error instanceof ProtocolBroken)) throw error;
        }
      }
    }
    assert.ok(understood > 100, `only ${understood} were understood`);
    return Promise.resolve();
  });
});
