/**
 * Every format that the table says this release reads is opened from a sample that was stored when it was
 * the newest. A sample is never made anew: `MULGA_WRITE_SAMPLES=1` adds those that are missing.
 */
import assert from "node:assert/strict";
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { type Format, formats } from "../../services/config/formats.ts";
import { readers } from "./readers.ts";

/** Format name and number to base64 of the deflated bytes. */
type Samples = Record<string, string>;

const path = new URL("samples.json", import.meta.url);

async function samples(): Promise<Samples> {
  const stored: Samples = JSON.parse(await Deno.readTextFile(path).catch(() => "{}"));
  if (Deno.env.get("MULGA_WRITE_SAMPLES") !== "1") return stored;
  for (const [name, { writes }] of Object.entries(formats)) {
    const bytes = await readers[name as keyof typeof formats].write();
    stored[`${name} ${writes}`] ??= new Uint8Array(deflateRawSync(bytes)).toBase64();
  }
  await Deno.writeTextFile(path, `${JSON.stringify(stored, null, 2)}\n`);
  return stored;
}

const all = Object.entries(formats) as [keyof typeof formats, Format][];

Deno.test("this release writes the numbers that the table of formats says", async () => {
  for (const [name, { writes }] of all) {
    assert.equal(readers[name].number(await readers[name].write()), writes, name);
  }
});

Deno.test("every format that a release reads is opened from a stored sample, the one before too", async () => {
  const stored = await samples();
  for (const [name, { reads }] of all) {
    for (const number of reads) {
      const sample = stored[`${name} ${number}`];
      assert.ok(sample, `there is a sample of ${name} ${number}`);
      const bytes = new Uint8Array(inflateRawSync(Uint8Array.fromBase64(sample)));
      assert.equal(readers[name].number(bytes), number);
      assert.deepEqual(await readers[name].read(bytes), readers[name].holds, `${name} ${number}`);
    }
  }
});

Deno.test("a number that no release has written yet is refused, not misread", async () => {
  const stored = await samples();
  for (const [name, { writes }] of all) {
    const bytes = new Uint8Array(
      inflateRawSync(Uint8Array.fromBase64(stored[`${name} ${writes}`] ?? "")),
    );
    // As a newer release would write it, checksums and all, as far as this one can tell.
    const text = new TextDecoder().decode(bytes);
    const newer = text.startsWith("{")
      ? new TextEncoder().encode(text.replace(/"(v|version)":1/, `"$1":99`))
      : bytes.map((byte, at) => at === (name === "object_segment" ? 5 : 4) ? 99 : byte);
    let opened: unknown;
    try {
      opened = await readers[name].read(newer);
    } catch {
      opened = undefined;
    }
    assert.equal(opened, undefined, name);
  }
});
