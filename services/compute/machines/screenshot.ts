/** A guest's screen as QEMU dumps it (PPM) and as EC2 answers it (JPEG). */
import { encodeJpeg, type Picture } from "./jpeg.ts";

/** What an answer on the bus may hold with room to spare; text on a screen takes a tenth of it. */
const largest_bytes = 500_000;
const qualities = [85, 60, 30, 10] as const;

/** @throws TypeError for what is no whole picture of eight bits a colour */
export function readPpm(bytes: Uint8Array): Picture {
  const head = /^P6\s+(\d+)\s+(\d+)\s+255\s/.exec(
    new TextDecoder("latin1").decode(bytes.subarray(0, 64)),
  );
  if (head === null) throw new TypeError("the screen's picture has another form");
  const [width, height] = [Number(head[1]), Number(head[2])];
  const rgb = bytes.subarray(head[0].length, head[0].length + width * height * 3);
  if (rgb.length !== width * height * 3) throw new TypeError("the screen's picture is cut short");
  return { width, height, rgb };
}

/** The best quality that is not too large. */
export async function screenshotJpeg(
  picture: Picture,
  most_bytes = largest_bytes,
): Promise<Uint8Array> {
  let jpeg = new Uint8Array();
  for (const quality of qualities) {
    jpeg = await encodeJpeg(picture, quality);
    if (jpeg.length <= most_bytes) break;
  }
  return jpeg;
}
