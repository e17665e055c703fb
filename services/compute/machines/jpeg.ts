/**
 * A baseline JPEG (JFIF, 4:4:4) of an RGB picture: what GetConsoleScreenshot answers. Pure arithmetic; the
 * tables are those of the standard's Annex K, scaled by quality as every encoder does.
 */
import { setImmediate } from "node:timers";

export interface Picture {
  readonly width: number;
  readonly height: number;
  /** Three bytes a pixel, row by row from the top. */
  readonly rgb: Uint8Array;
}

/** Position in the zigzag to position in the block. */
const zigzag = Uint8Array.from(zigzagOrder());

function* zigzagOrder(): Generator<number> {
  for (let sum = 0; sum < 15; sum++) {
    for (let step = 0; step <= sum; step++) {
      const [row, column] = sum % 2 === 0 ? [sum - step, step] : [step, sum - step];
      if (row < 8 && column < 8) yield row * 8 + column;
    }
  }
}

// deno-fmt-ignore
const luminance = [
  16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55,
  14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29, 51, 87, 80, 62,
  18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92,
  49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];
// deno-fmt-ignore
const chrominance = [
  17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99,
  24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
  99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
];

/** A Huffman table as a file has it: how many codes of each length, and their symbols in order. */
interface HuffmanTable {
  readonly lengths: readonly number[];
  readonly symbols: readonly number[];
}

const dcSymbols = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
const dcLuminance: HuffmanTable = {
  lengths: [0, 1, 5, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0],
  symbols: dcSymbols,
};
const dcChrominance: HuffmanTable = {
  lengths: [0, 3, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0],
  symbols: dcSymbols,
};
const hex = (text: string) => [...Uint8Array.fromHex(text.replace(/\s/g, ""))];
const acLuminance: HuffmanTable = {
  lengths: [0, 2, 1, 3, 3, 2, 4, 3, 5, 5, 4, 4, 0, 0, 1, 125],
  symbols: hex(`
    01020300041105122131410613516107227114328191a1082342b1c11552d1f02433627282090a161718191a25
    262728292a3435363738393a434445464748494a535455565758595a636465666768696a737475767778797a83
    8485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9cad2d3
    d4d5d6d7d8d9dae1e2e3e4e5e6e7e8e9eaf1f2f3f4f5f6f7f8f9fa`),
};
const acChrominance: HuffmanTable = {
  lengths: [0, 2, 1, 2, 4, 4, 3, 4, 7, 5, 4, 4, 0, 1, 2, 119],
  symbols: hex(`
    000102031104052131061241510761711322328108144291a1b1c109233352f0156272d10a162434e125f11718
    191a262728292a35363738393a434445464748494a535455565758595a636465666768696a737475767778797a
    82838485868788898a92939495969798999aa2a3a4a5a6a7a8a9aab2b3b4b5b6b7b8b9bac2c3c4c5c6c7c8c9ca
    d2d3d4d5d6d7d8d9dae2e3e4e5e6e7e8e9eaf2f3f4f5f6f7f8f9fa`),
};

/** Symbol to its code and the code's length. */
interface Codes {
  readonly code: Uint16Array;
  readonly length: Uint8Array;
}

function codesOf(table: HuffmanTable): Codes {
  const codes = { code: new Uint16Array(256), length: new Uint8Array(256) };
  let code = 0;
  let at = 0;
  table.lengths.forEach((count, index) => {
    for (let one = 0; one < count; one++) {
      const symbol = table.symbols[at++] ?? 0;
      codes.code[symbol] = code++;
      codes.length[symbol] = index + 1;
    }
    code <<= 1;
  });
  return codes;
}

class BitWriter {
  #bytes = new Uint8Array(64 * 1024);
  #length = 0;
  #bits = 0;
  #held = 0;

  byte(value: number): void {
    if (this.#length === this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#length++] = value;
  }

  segment(marker: number, content: readonly number[]): void {
    const length = content.length + 2;
    for (const value of [0xff, marker, length >> 8, length & 255, ...content]) this.byte(value);
  }

  bits(value: number, count: number): void {
    this.#bits = (this.#bits << count) | (value & ((1 << count) - 1));
    this.#held += count;
    while (this.#held >= 8) {
      const byte = (this.#bits >> (this.#held - 8)) & 255;
      this.byte(byte);
      // Inside the scan 0xff begins a marker, unless a zero follows.
      if (byte === 0xff) this.byte(0);
      this.#held -= 8;
      this.#bits &= (1 << this.#held) - 1;
    }
  }

  /** Fills the last byte with ones. */
  flush(): void {
    if (this.#held > 0) this.bits(0x7f, 8 - this.#held);
  }

  done(): Uint8Array<ArrayBuffer> {
    return this.#bytes.slice(0, this.#length);
  }
}

/** cos((2x + 1)uπ / 16) with the transform's own factors, by u * 8 + x. */
const cosines = Float32Array.from({ length: 64 }, (_, at) => {
  const [u, x] = [at >> 3, at & 7];
  return Math.cos(((2 * x + 1) * u * Math.PI) / 16) * (u === 0 ? Math.SQRT1_2 : 1) / 2;
});
const rows = new Float32Array(64);

/** The two-dimensional cosine transform, in place. */
function transform(block: Float32Array): void {
  for (let y = 0; y < 8; y++) {
    for (let u = 0; u < 8; u++) {
      let sum = 0;
      for (let x = 0; x < 8; x++) sum += (block[y * 8 + x] ?? 0) * (cosines[u * 8 + x] ?? 0);
      rows[y * 8 + u] = sum;
    }
  }
  for (let u = 0; u < 8; u++) {
    for (let v = 0; v < 8; v++) {
      let sum = 0;
      for (let y = 0; y < 8; y++) sum += (rows[y * 8 + u] ?? 0) * (cosines[v * 8 + y] ?? 0);
      block[v * 8 + u] = sum;
    }
  }
}

function isFlat(block: Float32Array): boolean {
  const [first] = block;
  for (let at = 1; at < 64; at++) if (block[at] !== first) return false;
  return true;
}

function scaled(table: readonly number[], quality: number): Uint8Array {
  const factor = quality < 50 ? 5000 / quality : 200 - 2 * quality;
  return Uint8Array.from(
    table,
    (value) => Math.min(255, Math.max(1, Math.floor((value * factor + 50) / 100))),
  );
}

/** How many bits a coefficient's magnitude needs. */
const sizeOf = (value: number) => 32 - Math.clz32(Math.abs(value));

const quantized = new Int32Array(64);

/** Writes one block and answers its first coefficient, from which the next one's is told apart. */
function writeBlock(
  to: BitWriter,
  block: Float32Array,
  quantizers: Uint8Array,
  dc: Codes,
  ac: Codes,
  previous: number,
): number {
  if (isFlat(block)) {
    // Most of a screen: the transform of one value everywhere is eight times that value, and zeros.
    block[0] = 8 * (block[0] ?? 0);
    block.fill(0, 1);
  } else transform(block);
  for (let at = 0; at < 64; at++) {
    const from = zigzag[at] ?? 0;
    quantized[at] = Math.round((block[from] ?? 0) / (quantizers[from] ?? 1));
  }
  const symbol = (codes: Codes, value: number) =>
    to.bits(codes.code[value] ?? 0, codes.length[value] ?? 0);
  const amount = (value: number, size: number) =>
    to.bits(value < 0 ? value + (1 << size) - 1 : value, size);

  const first = quantized[0] ?? 0;
  const difference = first - previous;
  symbol(dc, sizeOf(difference));
  amount(difference, sizeOf(difference));
  let zeros = 0;
  for (let at = 1; at < 64; at++) {
    const value = quantized[at] ?? 0;
    if (value === 0) {
      zeros++;
      continue;
    }
    for (; zeros > 15; zeros -= 16) symbol(ac, 0xf0);
    symbol(ac, (zeros << 4) | sizeOf(value));
    amount(value, sizeOf(value));
    zeros = 0;
  }
  if (zeros > 0) symbol(ac, 0);
  return first;
}

/** The red, green and blue parts of each component, and what is added. */
const components = [
  [0.299, 0.587, 0.114, -128],
  [-0.168736, -0.331264, 0.5, 0],
  [0.5, -0.418688, -0.081312, 0],
] as const;

/** How long encoding goes on before others have their turn. */
const turn_ms = 20;

/** @param quality 1 to 100 */
export async function encodeJpeg(
  { width, height, rgb }: Picture,
  quality: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (width < 1 || height < 1 || width > 65_535 || height > 65_535) {
    throw new RangeError(`a JPEG of ${width} × ${height} pixels cannot be`);
  }
  if (rgb.length !== width * height * 3) throw new RangeError("the picture is cut short");
  const quantizers = [scaled(luminance, quality), scaled(chrominance, quality)] as const;
  const to = new BitWriter();
  to.byte(0xff);
  to.byte(0xd8);
  to.segment(0xe0, [0x4a, 0x46, 0x49, 0x46, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0]);
  quantizers.forEach((table, index) =>
    to.segment(0xdb, [index, ...[...zigzag].map((from) => table[from] ?? 1)])
  );
  const size = [height >> 8, height & 255, width >> 8, width & 255];
  to.segment(0xc0, [8, ...size, 3, 1, 0x11, 0, 2, 0x11, 1, 3, 0x11, 1]);
  const tables = [dcLuminance, acLuminance, dcChrominance, acChrominance] as const;
  [0x00, 0x10, 0x01, 0x11].forEach((id, index) => {
    const table = tables[index] ?? dcLuminance;
    to.segment(0xc4, [id, ...table.lengths, ...table.symbols]);
  });
  to.segment(0xda, [3, 1, 0x00, 2, 0x11, 3, 0x11, 0, 63, 0]);
  const dc = [codesOf(dcLuminance), codesOf(dcChrominance)] as const;
  const ac = [codesOf(acLuminance), codesOf(acChrominance)] as const;
  const previous = [0, 0, 0];
  const block = new Float32Array(64);
  let turn = performance.now();
  for (let top = 0; top < height; top += 8) {
    if (performance.now() - turn > turn_ms) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      turn = performance.now();
    }
    for (let left = 0; left < width; left += 8) {
      components.forEach(([red, green, blue, offset], component) => {
        for (let at = 0; at < 64; at++) {
          // Beyond the edge the last pixel goes on.
          const x = Math.min(left + (at & 7), width - 1);
          const y = Math.min(top + (at >> 3), height - 1);
          const pixel = (y * width + x) * 3;
          block[at] = red * (rgb[pixel] ?? 0) + green * (rgb[pixel + 1] ?? 0) +
            blue * (rgb[pixel + 2] ?? 0) + offset;
        }
        const table = component === 0 ? 0 : 1;
        previous[component] = writeBlock(
          to,
          block,
          quantizers[table],
          dc[table],
          ac[table],
          previous[component] ?? 0,
        );
      });
    }
  }
  to.flush();
  to.byte(0xff);
  to.byte(0xd9);
  return to.done();
}
