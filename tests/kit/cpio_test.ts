import assert from "node:assert/strict";
import { cpio } from "./cpio.ts";

Deno.test("a cpio archive lists its members with type, mode and content, aligned to four bytes", () => {
  const archive = cpio([
    { path: "bin", kind: "directory", mode: 0o755 },
    { path: "bin/a", kind: "file", mode: 0o644, content: new TextEncoder().encode("seven!!") },
    { path: "bin/b", kind: "link", target: "a" },
    { path: "dev-console", kind: "device", mode: 0o600, major: 5, minor: 1 },
  ]);
  const text = new TextDecoder("latin1").decode(archive);
  const seen: unknown[] = [];
  for (let at = 0; at < archive.length;) {
    assert.equal(text.slice(at, at + 6), "070701");
    assert.equal(at % 4, 0);
    const field = (index: number) =>
      parseInt(text.slice(at + 6 + index * 8, at + 14 + index * 8), 16);
    const nameAt = at + 110;
    const name = text.slice(nameAt, nameAt + field(11) - 1);
    const contentAt = Math.ceil((nameAt + field(11)) / 4) * 4;
    seen.push([
      name,
      field(1).toString(8),
      text.slice(contentAt, contentAt + field(6)),
      field(9),
      field(10),
    ]);
    at = Math.ceil((contentAt + field(6)) / 4) * 4;
  }
  assert.deepEqual(seen, [
    ["bin", "40755", "", 0, 0],
    ["bin/a", "100644", "seven!!", 0, 0],
    ["bin/b", "120777", "a", 0, 0],
    ["dev-console", "20600", "", 5, 1],
    ["TRAILER!!!", "0", "", 0, 0],
  ]);
});
