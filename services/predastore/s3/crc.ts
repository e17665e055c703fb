/**
 * The CRC of two runs of bytes from the CRCs of each, for the CRCs that S3 knows: by it a multipart
 * object's checksum is made from its parts'.
 */

/** The reflected polynomials. */
export const polynomials = {
  crc32: { bits: 32, polynomial: 0xedb88320n },
  crc32c: { bits: 32, polynomial: 0x82f63b78n },
  crc64nvme: { bits: 64, polynomial: 0x9a6c9329ac4bc9b5n },
} as const;
export type CrcName = keyof typeof polynomials;

type Matrix = bigint[];

function times(matrix: Matrix, vector: bigint): bigint {
  let sum = 0n;
  for (let at = 0; vector !== 0n; at++, vector >>= 1n) {
    if (vector & 1n) sum ^= matrix[at] ?? 0n;
  }
  return sum;
}

const identity = (bits: number): Matrix =>
  Array.from({ length: bits }, (_, at) => 1n << BigInt(at));
const square = (matrix: Matrix): Matrix => matrix.map((column) => times(matrix, column));

/** Makes CRCs of runs out of the CRCs of their pieces; keeps the step for each length it has met. */
export class CrcCombiner {
  readonly #name: CrcName;
  readonly #steps = new Map<number, Matrix>();

  constructor(name: CrcName) {
    this.#name = name;
  }

  /** The CRC of two runs after each other, the second `length` bytes long. */
  combine(first: bigint, second: bigint, length: number): bigint {
    if (length === 0) return first;
    return times(this.#step(length), first) ^ second;
  }

  #step(length: number): Matrix {
    let step = this.#steps.get(length);
    if (step !== undefined) return step;
    const { bits, polynomial } = polynomials[this.#name];
    // One zero bit, then two, four, eight: one zero byte.
    let power: Matrix = [polynomial];
    for (let at = 1; at < bits; at++) power.push(1n << BigInt(at - 1));
    power = square(square(square(power)));
    for (let left = length; left > 0;) {
      if (left % 2 === 1) {
        const before = step as Matrix | undefined;
        const now = power;
        step = (before ?? identity(bits)).map((column: bigint) => times(now, column));
      }
      left = Math.floor(left / 2);
      if (left > 0) power = square(power);
    }
    this.#steps.set(length, step as Matrix);
    return step as Matrix;
  }
}
