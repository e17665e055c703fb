/**
 * The Reed-Solomon code of the store: k data shards and m parity shards, any k of which give back the
 * rest. RS(1,0) is no code at all and costs nothing.
 */
import {
  cauchyMatrix,
  type CodingTables,
  codingTables,
  encode,
  invertMatrix,
} from "../../../ffi/libisal.ts";

type Bytes = Uint8Array<ArrayBuffer>;

export class ErasureCode {
  readonly #matrix: Bytes;
  readonly #parity: CodingTables;
  /** By the shards that are there and the one that is wanted. */
  readonly #decoders = new Map<string, CodingTables>();

  constructor(readonly k: number, readonly m: number) {
    this.#matrix = cauchyMatrix(k + m, k);
    this.#parity = codingTables(this.#matrix.slice(k * k), k, m);
  }

  get n(): number {
    return this.k + this.m;
  }

  /** Fills the parity shards from the data shards, `length` bytes of each. */
  encode(data: readonly Bytes[], parity: readonly Bytes[], length: number): void {
    encode(this.#parity, data, parity, length);
  }

  /** The first `length` bytes of shard `wanted`, from any k others given by their number. */
  reconstruct(available: ReadonlyMap<number, Bytes>, wanted: number, length: number): Bytes {
    const numbers = [...available.keys()].sort((a, b) => a - b).slice(0, this.k);
    if (numbers.length < this.k) throw new RangeError("too few shards to reconstruct from");
    const name = `${numbers.join()}>${wanted}`;
    let coding = this.#decoders.get(name);
    if (coding === undefined) {
      coding = this.#decoder(numbers, wanted);
      if (this.#decoders.size > 1000) this.#decoders.clear();
      this.#decoders.set(name, coding);
    }
    const output = new Uint8Array(length);
    encode(coding, numbers.map((at) => available.get(at) as Bytes), [output], length);
    return output;
  }

  #decoder(numbers: readonly number[], wanted: number): CodingTables {
    const k = this.k;
    const rows = new Uint8Array(k * k);
    for (const [at, number] of numbers.entries()) {
      rows.set(this.#matrix.subarray(number * k, (number + 1) * k), at * k);
    }
    const inverse = invertMatrix(rows, k);
    if (wanted < k) return codingTables(inverse.slice(wanted * k, (wanted + 1) * k), k, 1);
    // A parity shard is its row of the matrix applied to the data that the inverse gives.
    const row = this.#matrix.subarray(wanted * k, (wanted + 1) * k);
    const product = new Uint8Array(k);
    for (let column = 0; column < k; column++) {
      for (let at = 0; at < k; at++) {
        product[column] = (product[column] ?? 0) ^
          multiply(row[at] ?? 0, inverse[at * k + column] ?? 0);
      }
    }
    return codingTables(product, k, 1);
  }
}

/** Multiplication in GF(2^8) with ISA-L's polynomial 0x11d. */
function multiply(a: number, b: number): number {
  let product = 0;
  for (let bit = 0; bit < 8; bit++) {
    if (b & (1 << bit)) product ^= a << bit;
  }
  for (let bit = 14; bit >= 8; bit--) {
    if (product & (1 << bit)) product ^= 0x11d << (bit - 8);
  }
  return product;
}
