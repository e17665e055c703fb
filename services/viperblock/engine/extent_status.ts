/**
 * Which parts of a range are allocated and which are holes that read as zeros, told from the map alone,
 * as the payload of an NBD block status: the context, then length and state of one extent after the
 * other. It covers at least one block of the range and may end before the range does; who asked goes on
 * from there. The time that one question takes is bounded, since the volume's loop waits for it.
 */
import { type BlockMap, containerAt, leafBlocks } from "../maps/block_map.ts";
import { blockBytes, hole } from "../format.ts";
import { allocationContext } from "./nbd_protocol.ts";

/** Bytes of the longest answer. */
export const statusBytes = 8192;
const extents = (statusBytes - 4) / 8;
/** Blocks that are looked at one by one for one answer. */
const patience = 64 * leafBlocks;

/** Bytes of the answer that names no hole. */
export const allAllocatedBytes = 12;

/** Writes at `at` of `view` that all of `length` bytes is allocated; returns the answer's bytes. */
export function allAllocated(view: DataView, at: number, length: number): number {
  view.setUint32(at, allocationContext.id);
  view.setUint32(at + 4, length);
  view.setUint32(at + 8, 0);
  return allAllocatedBytes;
}

/** Writes the answer at `at` of `view`; returns its bytes. The range lies in the volume. */
export function extentStatus(
  map: BlockMap,
  view: DataView,
  at: number,
  range: { readonly offset: number; readonly length: number; readonly one: boolean },
): number {
  const { offset, length } = range;
  const endBlock = Math.ceil((offset + length) / blockBytes);
  const most = range.one ? 1 : Math.floor(extents);
  view.setUint32(at, allocationContext.id);
  let to = at + 4;
  let looked = 0;
  let from = offset;
  for (let block = Math.floor(offset / blockBytes), n = 0; block < endBlock && n < most; n++) {
    let state = -1;
    while (block < endBlock && (state < 0 || looked < patience)) {
      const leaf = map.leaf(block);
      if (leaf === undefined) {
        if (state === 0) break;
        state = allocationContext.holeAndZero;
        block = Math.min(endBlock, (Math.floor(block / leafBlocks) + 1) * leafBlocks);
        looked++;
        continue;
      }
      const here = containerAt(leaf, block) === hole ? allocationContext.holeAndZero : 0;
      if (state >= 0 && here !== state) break;
      state = here;
      block++;
      looked++;
    }
    const end = Math.min(offset + length, block * blockBytes);
    view.setUint32(to, end - from);
    view.setUint32(to + 4, state);
    to += 8;
    from = end;
    if (looked >= patience) break;
  }
  return to - at;
}
