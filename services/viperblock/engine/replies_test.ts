/** Replies to a client that does not read: what the socket takes goes at once, the rest when there is room, in order. */
import assert from "node:assert/strict";
import { linuxMachine } from "../machine/linux.ts";
import { Clients } from "./clients.ts";
import type { Commands } from "./connection.ts";
import { Requests } from "./requests.ts";
import { Slots } from "./slots.ts";
import { Throttle } from "./throttle.ts";

const mebibyte = 1 << 20;
const reads = 11;
const replyHeaderBytes = 16;

/** What a read of that offset answers with: bytes of which none in reach is the same. */
function fill(bytes: Uint8Array, offset: number): void {
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = (offset / mebibyte * 31 + i * 7 + (i >> 8)) & 255;
  }
}

Deno.test("what a socket does not take at once follows when the client reads, byte for byte", async () => {
  const directory = await Deno.makeTempDir();
  const socket = `${directory}/socket`;
  const machine = linuxMachine("/");
  const requests = new Requests();
  const slots = new Slots(machine);
  const none = () => false;
  const commands: Commands = {
    read(id) {
      const slot = slots.take(mebibyte);
      if (slot < 0) return false;
      requests.slot[id] = slot;
      const start = slots.start[slot] as number;
      fill(slots.memory.bytes.subarray(start, start + mebibyte), requests.offset[id] as number);
      clients.reply(id);
      return true;
    },
    writeBlock: none,
    writePart: none,
    writeTaken() {},
    flush() {},
    zero: none,
    blockStatus: none,
  };
  const clients = new Clients({
    ring: machine.ring,
    requests,
    slots,
    commands,
    throttle: new Throttle({}, machine.now),
    served: { name: "it", sizeBytes: 64 * mebibyte },
    socket,
  });
  const turn = () => {
    clients.advance(false);
    machine.ring.turn(0);
  };
  clients.listen();
  /** Serves until the promise is settled. */
  const serving = async <T>(work: Promise<T>): Promise<T> => {
    let over = false;
    const end = work.finally(() => over = true);
    while (!over) {
      turn();
      await new Promise((resolve) => setTimeout(resolve, 0));
    }
    return await end;
  };
  const connection = await serving(Deno.connect({ transport: "unix", path: socket }));
  const readExactly = async (length: number) => {
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const count = await connection.read(bytes.subarray(done));
      assert.notEqual(count, null, "the server ended the connection");
      done += count as number;
    }
    return bytes;
  };
  await serving(readExactly(18));
  const hello = new Uint8Array(22);
  const helloView = new DataView(hello.buffer);
  helloView.setUint32(0, 3);
  helloView.setBigUint64(4, 0x49484156454f5054n);
  helloView.setUint32(12, 1);
  helloView.setUint32(16, 2);
  hello.set(new TextEncoder().encode("it"), 20);
  await connection.write(hello);
  await serving(readExactly(10));

  const asked = new Uint8Array(reads * 28);
  const view = new DataView(asked.buffer);
  for (let i = 0; i < reads; i++) {
    view.setUint32(i * 28, 0x25609513);
    view.setBigUint64(i * 28 + 8, BigInt(i));
    view.setBigUint64(i * 28 + 16, BigInt(i * mebibyte));
    view.setUint32(i * 28 + 24, mebibyte);
  }
  await connection.write(asked);
  // All have been taken, and no turn moves anything on any more.
  const serves = serving(new Promise((resolve) => setTimeout(resolve, 0)));
  for (let i = 0; i < 100; i++) turn();
  await serves;
  assert.ok(requests.available < requests.begun.length, "what was not read is under way");

  const answers = await serving(readExactly(reads * (replyHeaderBytes + mebibyte)));
  const answer = new DataView(answers.buffer);
  const expected = new Uint8Array(mebibyte);
  for (let i = 0; i < reads; i++) {
    const at = i * (replyHeaderBytes + mebibyte);
    assert.equal(answer.getUint32(at), 0x67446698);
    assert.equal(answer.getUint32(at + 4), 0);
    assert.equal(answer.getBigUint64(at + 8), BigInt(i));
    fill(expected, i * mebibyte);
    const got = answers.subarray(at + replyHeaderBytes, at + replyHeaderBytes + mebibyte);
    assert.ok(Buffer.from(got).equals(expected), `read ${i} is what was there`);
  }
  turn();
  assert.equal(requests.available, requests.begun.length, "every request was given back");
  connection.close();
  clients.close();
  machine.ring.close();
  await Deno.remove(directory, { recursive: true });
});
