import assert from "node:assert/strict";
import { releasesIn } from "./release.ts";
import { compareVersions, isVersion } from "./version.ts";

Deno.test("versions are ordered as systemd orders them", () => {
  // From older to newer; the order is that of `systemd-analyze compare-versions`.
  const ordered = [
    "0-.1b1",
    "0-",
    "0.1.0~rc1",
    "0.1.0~rc2",
    "0.1.0",
    "0.1.0-1",
    "0.1.0-2",
    "0.1.0.1",
    "0.1.1",
    "0.2",
    "0.9.0",
    "0.10.0",
    "1.0.0",
    "10",
    "20261125",
    "20261125.2",
  ];
  for (const [i, a] of ordered.entries()) {
    for (const [j, b] of ordered.entries()) {
      assert.equal(Math.sign(compareVersions(a, b)), Math.sign(i - j), `${a} and ${b}`);
    }
  }
});

Deno.test("our order is systemd's own", async () => {
  const seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  console.log(`seed ${seed}`);
  let state = seed;
  const next = (below: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state >>> 8) % below;
  };
  const pieces = ["0", "1", "2", "10", "09", ".", ".", "-", "~", "rc", "a", "b1"];
  const random = () =>
    String(next(3)) + Array.from({ length: next(6) }, () => pieces[next(pieces.length)]).join("");
  for (let round = 0; round < 60; round++) {
    const [a, b] = [random(), random()];
    const { code } = await new Deno.Command("systemd-analyze", {
      args: ["compare-versions", a, b],
      stdout: "null",
      stderr: "null",
    }).output();
    // Exit codes: 0 equal, 11 the first is newer, 12 the second is.
    const theirs = code === 11 ? 1 : code === 12 ? -1 : code;
    assert.equal(Math.sign(compareVersions(a, b)), theirs, `${a} and ${b}`);
  }
});

Deno.test("what cannot stand in a label is no version", () => {
  for (const good of ["0.1.0", "1", "0.2.0~rc1", "20261125-3"]) assert.ok(isVersion(good), good);
  for (const bad of ["", "v1", "1_2", "1+3", "../1", "1 2", "1".repeat(22), "-1"]) {
    assert.ok(!isVersion(bad), bad);
  }
});

Deno.test("a release has all its parts once, and whatever lies beside them is none", () => {
  const sum = "0".repeat(64);
  const uuid = "4f68bce3-e8cd-4db1-96e7-fbcaf984b701";
  const parts = (version: string, of = "x86-64") =>
    [`root.${uuid}.raw.zst`, `root-verity.${uuid}.raw.zst`, "efi", "formats.json"]
      .map((part) => `mulgaos_${version}_${of}.${part}`);
  const names = [
    ...parts("0.9.0"),
    ...parts("0.10.0"),
    ...parts("0.11.0", "arm64"),
    ...parts("0.12.0").slice(1),
    "mulgaos_0.10.0_x86-64.raw.zst",
    "mulgaos_0.10.0_x86-64.manifest",
    "mulgaos_0.10.0_x86-64.packages.json",
    "other_0.13.0_x86-64.efi",
    "mulgaos_bad_x86-64.efi",
  ];
  const releases = releasesIn(new Map(names.map((name) => [name, sum])), "x86-64");
  assert.deepEqual(releases.map((one) => one.version), ["0.10.0", "0.9.0"]);
  assert.deepEqual(releases[0]?.parts.map((part) => part.kind), ["root", "verity", "kernel"]);
  assert.equal(releases[0]?.parts[0]?.staged, `mulgaos_0.10.0_x86-64.root.${uuid}.raw`);
  assert.equal(releases[0]?.formats?.name, "mulgaos_0.10.0_x86-64.formats.json");
});
