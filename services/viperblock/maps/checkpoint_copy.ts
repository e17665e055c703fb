/**
 * A saved map on its way to becoming a volume's first checkpoint: it may be that of a snapshot, which is another
 * volume's, so the copy says whose checkpoint it is. Both checksums are made anew, the one of the whole only when
 * the map matched its own: damage on the way from the store is not blessed. FORMAT.md has the layout.
 */
import { crc32c } from "../../../ffi/crc32c.ts";
import { DamagedData, mapHeaderBytes } from "../format.ts";
import { mapTailBytes, nameCheckpoint } from "./map_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** @throws DamagedData at the end when the map is not what was written; what came before is worth nothing then */
export async function* asCheckpointOf(
  volumeId: string,
  parts: AsyncIterable<Bytes>,
): AsyncGenerator<Bytes> {
  let [read, written] = [0, 0];
  let isFirst = true;
  // The tail is known to be the tail only when nothing comes after it.
  let held: Bytes = new Uint8Array(0);
  for await (const part of parts) {
    const bytes = new Uint8Array(held.length + part.length);
    bytes.set(held);
    bytes.set(part, held.length);
    const end = Math.max(0, bytes.length - mapTailBytes);
    const out = bytes.slice(0, end);
    held = bytes.slice(end);
    read = crc32c(out, read);
    if (isFirst) {
      if (out.length < mapHeaderBytes) throw new DamagedData("the map is shorter than its head");
      nameCheckpoint(out, volumeId);
      isFirst = false;
    }
    written = crc32c(out, written);
    yield out;
  }
  const tail = new DataView(held.buffer);
  if (held.length < mapTailBytes || tail.getUint32(0, true) !== read) {
    throw new DamagedData("the saved map does not match its checksum");
  }
  tail.setUint32(0, written, true);
  yield held;
}
