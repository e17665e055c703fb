/** An encrypted copy that the tables take, and whose maker hears that they did not. */
import assert from "node:assert/strict";
import { unavailable } from "../../services/aws/errors.ts";
import { directBlockBytes } from "../../services/viperblock/contract.ts";
import { until } from "../kit/until.ts";
import { encryptedCopy, startLateWorld } from "./late_world.ts";

const size_bytes = directBlockBytes;

for (const what of ["volume", "snapshot"] as const) {
  Deno.test(`a ${what} that is an encrypted copy can be asked for again when the answer of the tables was lost`, async () => {
    await using world = await startLateWorld();
    const { tables } = world;
    const direct = world.process();
    await direct.open({ snapshot_id: "snap-plain", size_bytes });
    await direct.write("snap-plain", 0, new Uint8Array(directBlockBytes).fill(7));
    await direct.seal({ snapshot_id: "snap-plain" });
    const copy = () => encryptedCopy(world, what, size_bytes);
    const table = tables.volumes;
    const create = table.create.bind(table);
    table.create = async (...row) => {
      table.create = create;
      await create(...row);
      throw unavailable("the state store");
    };
    await assert.rejects(copy(), { code: "ServiceUnavailable" });
    await until("it is made", () => copy().then(() => true, () => false));
    const left = table.list().filter(({ value }) => value.state === "deleting");
    assert.deepEqual(left, []);
  });
}
