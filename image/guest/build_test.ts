import assert from "node:assert/strict";
import { ImageBuildError, progressOf, reasonOf } from "../mkosi/run.ts";
import { buildGuestImage } from "./build.ts";

async function scratch(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "mulga-image-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

/** A program in mkosi's place, so that what surrounds a build is tested without one. */
async function program(path: string, script: string): Promise<string> {
  await Deno.writeTextFile(path, `#!/bin/sh\n${script}`);
  await Deno.chmod(path, 0o755);
  return path;
}

Deno.test("an unknown image is refused with the names of those there are", async () => {
  await assert.rejects(buildGuestImage("plan-9", { output: "/nowhere" }), (error: Error) => {
    assert.ok(error instanceof ImageBuildError);
    assert.equal(error.message, 'There is no guest image "plan-9"; there are debian-13.');
    return true;
  });
});

Deno.test("an mkosi that is missing or too old is said before anything is made", async () => {
  await using directory = await scratch();
  const output = `${directory.path}/out`;
  await assert.rejects(
    buildGuestImage("debian-13", { output, mkosi: `${directory.path}/none` }),
    /needs mkosi.*deno task setup/,
  );
  const old = await program(`${directory.path}/old`, "echo mkosi 14\n");
  await assert.rejects(
    buildGuestImage("debian-13", { output, mkosi: old }),
    /mkosi is mkosi 14 and must be 24 or newer/,
  );
  await assert.rejects(Deno.stat(output), Deno.errors.NotFound);
});

Deno.test("a failed build is one sentence with the log's path, leaves no image and can be repeated", async () => {
  await using directory = await scratch();
  const output = `${directory.path}/out`;
  const cacheDir = `${directory.path}/cache`;
  const failing = await program(
    `${directory.path}/failing`,
    `[ "$1" = --version ] && { echo mkosi 25.3; exit 0; }
echo "‣ Installing Debian…" >&2
echo "E: Unable to fetch some archives" >&2
exit 1
`,
  );
  const steps: string[] = [];
  await assert.rejects(
    buildGuestImage("debian-13", {
      output,
      cacheDir,
      mkosi: failing,
      onProgress: (text) => steps.push(text),
    }),
    (error: Error) => {
      assert.match(error.message, /did not build the image: E: Unable to fetch some archives\./);
      const log = error.message.match(/log is in (.+)\.$/)?.[1] ?? "";
      assert.match(Deno.readTextFileSync(log), /Unable to fetch/);
      return true;
    },
  );
  assert.ok(steps.includes("installing debian"));
  assert.deepEqual([...Deno.readDirSync(output)], []);
  const left = [...Deno.readDirSync(`${cacheDir}/images`)].map((entry) => entry.name).sort();
  assert.deepEqual(left.filter((name) => !/\.(lock|log)$/.test(name)), []);

  const working = await program(
    `${directory.path}/working`,
    `[ "$1" = --version ] && { echo mkosi 25.3; exit 0; }
case "$*" in *--sandbox-tree*) ;; *) exit 3 ;; esac
while [ "$1" != --output-dir ]; do shift; done
echo disk > "$2/image.raw"
echo built >> ${directory.path}/builds
`,
  );
  const build = () => buildGuestImage("debian-13", { output, cacheDir, mkosi: working });
  const [first, second] = await Promise.all([build(), build()]);
  assert.equal(await Deno.readTextFile(first.path), "disk\n");
  assert.equal(first.path, second.path);
  // The second caller waited for the first and took its image.
  assert.equal(await Deno.readTextFile(`${directory.path}/builds`), "built\n");
});

Deno.test("progress is told from mkosi's steps and apt's lines, and nothing from the rest", () => {
  assert.equal(progressOf("‣  Generating disk image…"), "generating disk image");
  assert.equal(progressOf("Get:12 http://a trixie/main amd64 systemd"), "fetching packages (12)");
  assert.equal(progressOf("Setting up libc6:amd64 (2.41-12) ..."), "installing libc6");
  assert.equal(progressOf("Reading package lists..."), undefined);
});

Deno.test("the reason of a failure is the line that says most", () => {
  assert.equal(
    reasonOf('‣ Installing\nE: No space left on device.\n‣ "apt" returned 100.'),
    "E: No space left on device",
  );
  assert.equal(reasonOf('‣ "apt" returned 100.'), '"apt" returned 100');
  assert.equal(reasonOf(""), "no output");
});
