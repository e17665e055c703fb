/** What the simulated guest writes down when it is cut off: only what the volume really took. */
import assert from "node:assert/strict";
import { nbdCommand } from "../../services/viperblock/engine/nbd_protocol.ts";
import { Requests } from "../../services/viperblock/engine/requests.ts";
import type { Inside } from "../../services/viperblock/engine/volume_options.ts";
import { Random } from "../kit/random.ts";
import { Guest } from "./guest.ts";
import { History } from "./history.ts";

const sizeBlocks = 64;

/** A door behind which there is room for so many blocks and parts, and for no zeroes. */
function narrowDoor(room: number) {
  const taken = new Set<number>();
  const requests = new Requests();
  const ended: number[] = [];
  const take = (block: number) => {
    if (taken.size === room) return false;
    taken.add(block);
    return true;
  };
  const commands = {
    writeBlock: (block: number) => take(block),
    writePart: (_: number, offset: number) => take(Math.floor(offset / 4096)),
    writeTaken: (request: number) => void ended.push(request),
    zero: () => false,
    flush: (request: number) => void ended.push(request),
    read: () => false,
  };
  const inside = { requests, commands } as unknown as Inside;
  return { inside, taken, ended, requests };
}

Deno.test("of a write that its client did not end, as much has happened as was taken", () => {
  let cut = 0;
  for (let seed = 1; seed <= 400; seed++) {
    const room = seed % 5;
    const door = narrowDoor(room);
    const history = new History(sizeBlocks);
    let stamp = 0;
    const guest = new Guest(new Random(seed), history, door.inside, () => ++stamp);
    guest.listen();
    for (let i = 0; i < 20 && !guest.stalled; i++) {
      guest.act();
      for (const request of door.ended.splice(0)) guest.reply(request);
    }
    if (!guest.stalled) continue;
    guest.dropClients();
    assert.equal(guest.anyOpen, door.ended.length > 0, `seed ${seed}`);
    for (const request of door.ended.splice(0)) {
      if (door.requests.type[request] === nbdCommand.write) cut++;
      guest.reply(request);
    }
    assert.equal(guest.anyOpen, false, `seed ${seed}`);
    // Nothing but what the volume took may be expected of it.
    const expected = history.now.slice();
    for (const [block, content] of expected.entries()) {
      if (content !== history.zero) assert.ok(door.taken.has(block), `seed ${seed}: ${block}`);
    }
    assert.equal(history.settle(expected, history.length), undefined, `seed ${seed}`);
  }
  assert.ok(cut > 100, `${cut} writes were cut off`);
});
