import assert from "node:assert/strict";
import { join } from "node:path";
import {
  formats,
  type FormatStamp,
  ownFormats,
  parseReleaseFormats,
  readStamp,
  requireReadable,
  requireReadableState,
  stampForward,
  StateTooNew,
} from "./formats.ts";
import { osReleaseField } from "./release.ts";

async function inDirectory(work: (directory: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const stampOf = (changes: Record<string, number>): FormatStamp => ({
  v: 1,
  release: "9.9.9",
  formats: {
    ...Object.fromEntries(Object.entries(formats).map(([name, one]) => [name, one.writes])),
    ...changes,
  },
});

Deno.test("a release reads what it writes, and the number before that where there was one", () => {
  for (const [name, one] of Object.entries(formats)) {
    const reads: readonly number[] = one.reads;
    assert.ok(reads.includes(one.writes), `${name} reads its own`);
    assert.ok(one.writes === 1 || reads.includes(one.writes - 1), `${name} reads the one before`);
  }
});

Deno.test("a state newer than the release is refused, naming both and what to do", async () => {
  await inDirectory(async (directory) => {
    await requireReadableState(directory);
    const path = join(directory, "formats.json");
    for (const changes of [{ volume_log: 99 }, { something_new: 1 }]) {
      const text = JSON.stringify(stampOf(changes));
      await Deno.writeTextFile(path, text);
      for (const refused of [requireReadableState, stampForward]) {
        await assert.rejects(refused(directory), (error: Error) => {
          assert.ok(error instanceof StateTooNew);
          assert.match(error.message, /9\.9\.9/);
          assert.match(error.message, new RegExp(ownFormats().version.replaceAll(".", "\\.")));
          assert.match(error.message, /restore a backup/);
          return true;
        });
        assert.equal(await Deno.readTextFile(path), text, "nothing was changed");
      }
    }
    for (const damaged of ["", "{", "null", "[]", '{"v":2}', '{"v":1,"release":1}']) {
      await Deno.writeTextFile(path, damaged);
      await assert.rejects(requireReadableState(directory), StateTooNew, damaged);
    }
  });
});

Deno.test("the stamp is made once and says what this release writes", async () => {
  await inDirectory(async (directory) => {
    await stampForward(directory);
    const stamp = await readStamp(directory);
    assert.equal(stamp?.formats["config"], formats.config.writes);
    const before = await Deno.stat(join(directory, "formats.json"));
    await stampForward(directory);
    const after = await Deno.stat(join(directory, "formats.json"));
    assert.equal(after.ino, before.ino, "an unchanged stamp is not written again");
    await requireReadableState(directory);
  });
});

Deno.test("a release that reads the stamped number and its follower takes both", () => {
  const release = { version: "2", reads: { ...ownFormats().reads, volume_log: [1, 2] } };
  for (const number of [1, 2]) requireReadable(stampOf({ volume_log: number }), release);
  assert.throws(() => requireReadable(stampOf({ volume_log: 3 }), release), StateTooNew);
});

Deno.test("what a release publishes is read back, and anything else is no such thing", () => {
  assert.deepEqual(parseReleaseFormats(JSON.stringify(ownFormats("1.2.3"))), ownFormats("1.2.3"));
  for (const text of ["", "null", "{}", '{"version":"1","reads":{"a":1}}', '{"version":1}']) {
    assert.equal(parseReleaseFormats(text), undefined, text);
  }
});

Deno.test("os-release is read with and without quotes", () => {
  const text = "ID=debian\nIMAGE_ID=\"mulgaos\"\nIMAGE_VERSION=0.2.0\nX='y z'\n";
  assert.equal(osReleaseField(text, "IMAGE_ID"), "mulgaos");
  assert.equal(osReleaseField(text, "IMAGE_VERSION"), "0.2.0");
  assert.equal(osReleaseField(text, "X"), "y z");
  assert.equal(osReleaseField(text, "VERSION"), undefined);
});
