/** Direct access to snapshots on the bus: bytes travel as base64. */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import {
  abandonSnapshot,
  listSnapshotBlocks,
  openSnapshot,
  readSnapshotBlock,
  sealSnapshot,
  writeSnapshotBlock,
} from "../contract.ts";
import type { DirectAccess } from "./direct_access.ts";

function bytesOf(data: unknown): Uint8Array {
  try {
    return Uint8Array.fromBase64(String(data));
  } catch (cause) {
    throw new AwsError("InvalidParameterValue", "The data of a block must be base64.", { cause });
  }
}

export function answerDirect(bus: Bus, direct: DirectAccess): void {
  bus.answer(openSnapshot, (request) => direct.open(request));
  bus.answer(
    writeSnapshotBlock,
    ({ snapshot_id, block_index, data }) => direct.write(snapshot_id, block_index, bytesOf(data)),
  );
  bus.answer(sealSnapshot, (request) => direct.seal(request));
  bus.answer(abandonSnapshot, ({ snapshot_id }) => direct.abandon(snapshot_id));
  bus.answer(listSnapshotBlocks, (question) => direct.list(question));
  bus.answer(readSnapshotBlock, async ({ snapshot_id, block_index }) => ({
    data: (await direct.read(snapshot_id, block_index)).toBase64(),
  }));
}
