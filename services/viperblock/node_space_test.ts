import assert from "node:assert/strict";
import { createLog } from "../log/log.ts";
import { NodeSpace } from "./node_space.ts";

Deno.test("a disk that does not say how much room it has has none, which is logged once, until it does again", async () => {
  const home = await Deno.makeTempDir({ prefix: "mulga-space-" });
  try {
    const lines: string[] = [];
    const log = createLog("test", { write: (line) => void lines.push(line) });
    const space = new NodeSpace({ directory: `${home}/volumes`, reserveBytes: 4096, log });
    for (let asked = 0; asked < 3; asked++) {
      assert.deepEqual(space.bytes, { total_bytes: 0, available_bytes: 0 });
    }
    assert.match(space.failure ?? "", /ENOENT/);
    assert.equal(lines.length, 1);
    await Deno.mkdir(`${home}/volumes`);
    assert.ok(space.bytes.total_bytes > 0);
    assert.equal(space.failure, undefined);
  } finally {
    await Deno.remove(home, { recursive: true });
  }
});
