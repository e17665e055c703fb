import assert from "node:assert/strict";
import { inflateSync } from "node:zlib";
import { awsUefiData, type FirmwareVariable, readVariables } from "./firmware_variables.ts";

const vendor = Uint8Array.fromHex("61dfe48bca93d211aa0d00e098032b8c");

/** A flash image as EDK II writes it: a volume header of 72 bytes, the store, variables one after the other. */
function flash(
  variables: readonly (Partial<FirmwareVariable> & { readonly name: string; state?: number })[],
): Uint8Array {
  const bytes = new Uint8Array(4096).fill(0xff);
  const view = new DataView(bytes.buffer);
  bytes.fill(0, 0, 72);
  bytes.set(Uint8Array.fromHex("8d2bf1ff96768b4ca9852747075b4f50"), 16);
  bytes.set(new TextEncoder().encode("_FVH"), 40);
  view.setUint16(48, 72, true);
  bytes.set(Uint8Array.fromHex("782cf3aa7b949a43a1802e144ec37792"), 72);
  view.setUint32(88, 2048, true);
  bytes.set([0x5a, 0xfe, 0, 0, 0, 0, 0, 0], 92);
  let at = 100;
  for (
    const { name, data = new Uint8Array(), attributes = 7, state = 0x3f, timestamp } of variables
  ) {
    view.setUint16(at, 0x55aa, true);
    bytes.set([state, 0], at + 2);
    view.setUint32(at + 4, attributes, true);
    bytes.fill(0, at + 8, at + 36);
    bytes.set(timestamp ?? new Uint8Array(16), at + 16);
    view.setUint32(at + 36, (name.length + 1) * 2, true);
    view.setUint32(at + 40, data.length, true);
    bytes.set(vendor, at + 44);
    for (let index = 0; index <= name.length; index++) {
      view.setUint16(at + 60 + index * 2, index < name.length ? name.charCodeAt(index) : 0, true);
    }
    bytes.set(data, at + 60 + (name.length + 1) * 2);
    at = (at + 60 + (name.length + 1) * 2 + data.length + 3) & ~3;
  }
  return bytes;
}

Deno.test("the variables that count are read: added ones, or what they were until they are", () => {
  const variables = readVariables(flash([
    { name: "Boot0000", data: Uint8Array.of(1), state: 0x3c },
    { name: "Boot0000", data: Uint8Array.of(2) },
    { name: "BootOrder", data: Uint8Array.of(3), state: 0x3e },
    { name: "Timeout", data: Uint8Array.of(4), state: 0x3e },
    { name: "Timeout", data: Uint8Array.of(5) },
    { name: "Volatile", attributes: 6 },
    { name: "Unfinished", state: 0x7f },
  ]));
  assert.deepEqual(
    new Map(variables.map(({ name, data }) => [name, data[0]])),
    new Map([["Boot0000", 2], ["BootOrder", 3], ["Timeout", 5]]),
  );
});

Deno.test("what is no store, or was damaged, is refused and never read beyond its end", () => {
  const good = flash([{ name: "A", data: new Uint8Array(8) }]);
  assert.throws(() => readVariables(new Uint8Array(4096)), { code: "InternalError" });
  assert.throws(() => readVariables(new Uint8Array()), { code: "InternalError" });
  const foreign = good.slice();
  foreign[72] = 0;
  assert.throws(() => readVariables(foreign), { code: "InternalError" });
  const long = good.slice();
  new DataView(long.buffer).setUint32(140, 0x7fffffff, true);
  assert.throws(() => readVariables(long), { code: "InternalError" });
});

Deno.test("AWS's form has its magic, a checksum, version 0 and every variable in order", () => {
  const timestamp = Uint8Array.from({ length: 16 }, (_, index) => index);
  const text = awsUefiData([
    { name: "PK", vendor, attributes: 0x27, timestamp, data: Uint8Array.of(9) },
    { name: "Größe", vendor, attributes: 7, timestamp, data: Uint8Array.of(1, 2) },
  ]);
  const bytes = Uint8Array.fromBase64(text);
  const view = new DataView(bytes.buffer);
  assert.equal(new TextDecoder().decode(bytes.subarray(0, 8)), "AMZNUEFI");
  assert.equal(view.getUint32(12, true), 0);
  const plain = new Uint8Array(inflateSync(bytes.subarray(16)));
  const expected = [
    "0200000000000000",
    "0200000000000000" + "504b" + "0100000000000000" + "09",
    vendor.toHex() + "27000000" + timestamp.toHex(),
    "2000000000000000" + "00".repeat(32),
    "0700000000000000" + "4772c3b6c39f65" + "0200000000000000" + "0102",
    vendor.toHex() + "07000000",
  ].join("");
  assert.equal(plain.toHex(), expected);
  // CRC-32C of what follows it; the check value of the polynomial is that of "123456789".
  const again = awsUefiData([]);
  assert.equal(again.length > 20, true);
  assert.notEqual(view.getUint32(8, true), 0);
});
