/**
 * For the codecs' tests: a value for every member that a schema has, so that each operation can be
 * sent through the official SDK and back.
 */
import { isFractional } from "./fractional.ts";
import { NormalizedSchema, type SchemaRef } from "./smithy_schema.ts";

/** Makes one value of every kind; structures are cut where they repeat themselves. */
export class Generator {
  #count = 0;
  constructor(readonly strings: readonly string[]) {}

  value(of: NormalizedSchema, inside: readonly string[], fractional = false): unknown {
    const n = ++this.#count;
    if (of.isStructSchema()) return this.structure(of, inside);
    if (of.isListSchema()) {
      const item = of.getValueSchema();
      const items = [this.value(item, inside), this.value(item, inside)];
      return items.filter((one) => one !== undefined);
    }
    if (of.isMapSchema()) {
      return {
        [`key ${n}`]: this.value(of.getValueSchema(), inside),
        "a&b<c>": this.value(of.getValueSchema(), inside),
      };
    }
    if (of.isTimestampSchema()) return new Date(1_700_000_000_000 + n * 1_000);
    if (of.isBlobSchema()) return new Uint8Array([n & 255, 0, 255, 10]);
    if (of.isBooleanSchema()) return n % 2 === 0;
    if (of.isNumericSchema()) return fractional ? n + 0.5 : n;
    return this.strings[n % this.strings.length]!.replace("#", String(n));
  }

  structure(of: NormalizedSchema, inside: readonly string[]): unknown {
    const name = of.getName()!.split("#").at(-1)!;
    if (inside.filter((one) => one === name).length >= 2) return undefined;
    const made: Record<string, unknown> = {};
    for (const [member, schema] of of.structIterator()) {
      const value = this.value(schema, [...inside, name], isFractional(name, member));
      if (value !== undefined && !(Array.isArray(value) && value.length === 0)) {
        made[member] = value;
      }
    }
    return made;
  }

  of(schema: SchemaRef): Record<string, unknown> {
    const normalised = NormalizedSchema.of(schema);
    return normalised.isStructSchema()
      ? this.structure(normalised, []) as Record<string, unknown>
      : {};
  }
}

/** As it crosses the bus: times as ISO strings, bytes as base64. */
export function asJson(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return value.toBase64();
  if (Array.isArray(value)) return value.map(asJson);
  if (typeof value === "object" && value !== null) {
    return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, asJson(one)]));
  }
  return value;
}

export const plain = ["plain-#"];
export const nasty = [
  "<a href=\"x\">&amp; 'q' #",
  " leading and trailing # ",
  "übér 日本語 😀 #",
  "line\nfeed\ttab\r\nreturn #",
  "1e5",
  "true",
  "a+b%20c&d=e.f #",
  "",
  "]]> #",
];
