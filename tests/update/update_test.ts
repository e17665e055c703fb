/** Updates into real partitions by the real systemd-sysupdate, from folders and servers that misbehave. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { generateKeys } from "../../image/signing/keys.ts";
import { ownFormats } from "../../services/config/formats.ts";
import { directorySource, httpSource, type Source } from "../../tasks/hive/update/source.ts";
import { readState } from "../../tasks/hive/update/state.ts";
import { abortUpdate, runUpdate, type UpdateOptions } from "../../tasks/hive/update/update.ts";
import { CommandError } from "../../tasks/terminal/command.ts";
import { type ApplianceDisk, applianceDisk } from "./appliance_disk.ts";
import { fileServer } from "./file_server.ts";

const options = (changes: Partial<UpdateOptions> = {}): UpdateOptions => ({
  signal: new AbortController().signal,
  progress: () => {},
  pause_ms: 1,
  ...changes,
});

/** Refused in one sentence, and the machine starts what it started before. */
async function refused(
  machine: ApplianceDisk,
  source: Source,
  words: RegExp,
  changes: Partial<UpdateOptions> = {},
): Promise<void> {
  await assert.rejects(runUpdate(machine.site, source, options(changes)), (error: Error) => {
    assert.match(error.name, /^(CommandError|SignatureError)$/, error.stack);
    assert.match(error.message, words);
    assert.doesNotMatch(error.message, /\n/, "one line");
    return true;
  });
  assert.deepEqual(await machine.bootable(), ["0.1.0"]);
  await machine.requireUntouched();
}

Deno.test("an update goes into the other slot, is tried three times, and keeps the running version", async () => {
  await using machine = await applianceDisk();
  const source = directorySource(await machine.publish("0.2.0"));
  const said: string[] = [];
  const done = await runUpdate(
    machine.site,
    source,
    options({ progress: (what) => said.push(what) }),
  );
  assert.deepEqual(done, { version: "0.2.0", installed: true });
  await machine.requireInstalled("0.2.0");
  assert.ok(
    [...Deno.readDirSync(machine.boot)].some(({ name }) => name === "mulgaos_0.2.0+3-0.efi"),
  );
  await machine.requireUntouched();
  assert.equal((await readState(machine.updates)).phase, "installed");
  for (const words of [/fetching .*root/, /unpacking/, /writing/, /checking/]) {
    assert.ok(said.some((one) => words.test(one)), String(words));
  }
  // Nothing of the update is left to fill the disk.
  const left = Array.from(Deno.readDirSync(machine.updates), (entry) => entry.name);
  assert.deepEqual(left.filter((name) => /mulgaos|partial/.test(name)), []);
  // Asked once more, there is nothing to do.
  assert.equal((await runUpdate(machine.site, source, options())).installed, false);
  // The next one takes the slot of the version that does not run.
  await machine.boots("0.2.0");
  await runUpdate(machine.site, directorySource(await machine.publish("0.3.0")), options());
  await machine.requireInstalled("0.3.0");
  await machine.requireInstalled("0.2.0");
  assert.deepEqual(await machine.bootable(), ["0.2.0", "0.3.0"]);
});

Deno.test("the newest release of a folder is taken, or the one that was named", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.10.0");
  assert.equal(
    (await runUpdate(machine.site, directorySource(folder), options())).version,
    "0.10.0",
  );
  const both = await machine.publish("0.9.0");
  await refusedVersion(machine, both, "0.11.0");
});

async function refusedVersion(machine: ApplianceDisk, folder: string, version: string) {
  await assert.rejects(
    runUpdate(machine.site, directorySource(folder), options({ version })),
    /has no 0\.11\.0 for x86-64; it has 0\.9\.0/,
  );
}

Deno.test("what is not signed by a trusted key is never installed", async () => {
  await using machine = await applianceDisk();
  const stranger = await generateKeys();
  const foreign = await machine.publish("0.2.0", { key: stranger });
  await refused(machine, directorySource(foreign), /none of the keys .*release\.pub/);
  const unsigned = await machine.publish("0.2.0", { key: null });
  await refused(machine, directorySource(unsigned), /not signed/);
  await refused(machine, directorySource(unsigned), /not signed/, { allowUnsigned: true });
  const altered = await machine.publish("0.2.0");
  const sums = join(altered, "SHA256SUMS");
  await Deno.writeTextFile(sums, (await Deno.readTextFile(sums)).replace(/^./, "0"));
  await refused(machine, directorySource(altered), /none of the keys/);
  await Deno.writeTextFile(join(altered, "SHA256SUMS.sig"), "");
  await refused(machine, directorySource(altered), /none of the keys/);
  await Deno.writeTextFile(join(machine.directory, "keys/other.pub"), "damaged");
  await refused(machine, directorySource(await machine.publish("0.2.0")), /other\.pub/);
});

Deno.test("a machine that trusts no key says so, and takes an unsigned release only when told", async () => {
  await using machine = await applianceDisk();
  await Deno.remove(join(machine.directory, "keys/release.pub"));
  const folder = await machine.publish("0.2.0", { key: null });
  await refused(machine, directorySource(folder), /trusts no key.*--allow-unsigned/);
  await runUpdate(machine.site, directorySource(folder), options({ allowUnsigned: true }));
  await machine.requireInstalled("0.2.0");
});

Deno.test("a corrupt or missing file is refused before a slot is touched", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const root = [...Deno.readDirSync(folder)].find((one) => /\.root\./.test(one.name))?.name ?? "";
  const path = join(folder, root);
  const bytes = await Deno.readFile(path);
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  await Deno.writeFile(path, bytes);
  await refused(machine, directorySource(folder), /not what was signed/);
  await Deno.remove(path);
  await refused(machine, directorySource(folder), /There is no mulgaos_0\.2\.0_x86-64\.root/);
  for (const text of ["", "<html>", "0".repeat(2 << 20)]) {
    await Deno.writeTextFile(join(folder, "SHA256SUMS"), text);
    await refused(machine, directorySource(folder), /keys|longer/);
  }
  await refused(
    machine,
    directorySource(join(machine.directory, "none")),
    /There is no SHA256SUMS/,
  );
});

Deno.test("an older version, this version, and one for another processor are refused", async () => {
  await using machine = await applianceDisk();
  const older = await machine.publish("0.0.9");
  await refused(machine, directorySource(older), /older than 0\.1\.0 that runs.*--allow-downgrade/);
  await refused(machine, directorySource(await machine.publish("0.1.0")), /0\.1\.0 runs already/);
  await refused(
    machine,
    directorySource(await machine.publish("0.2.0", { architecture: "arm64" })),
    /no release for x86-64/,
  );
  await runUpdate(machine.site, directorySource(older), options({ allowDowngrade: true }));
  await machine.requireInstalled("0.0.9");
});

Deno.test("a version that cannot read this node's state is refused, also as a downgrade", async () => {
  await using machine = await applianceDisk();
  const reads = { ...ownFormats().reads, volume_log: [7] };
  const folder = await machine.publish("0.2.0", { formats: { version: "0.2.0", reads } });
  await refused(machine, directorySource(folder), /newer than release 0\.2\.0 can read/);
  const nonsense = await machine.publish("0.2.0", { formats: ["nonsense"] });
  await refused(machine, directorySource(nonsense), /not a list of formats/);
  machine.stamp = undefined;
  await runUpdate(machine.site, directorySource(folder), options());
});

Deno.test("while a version is on trial, the one to go back to is not written over", async () => {
  await using machine = await applianceDisk();
  await runUpdate(machine.site, directorySource(await machine.publish("0.2.0")), options());
  await machine.boots("0.2.0", "on trial");
  const next = directorySource(await machine.publish("0.3.0"));
  await assert.rejects(runUpdate(machine.site, next, options()), /0\.2\.0 is still being tried/);
  assert.deepEqual(await machine.bootable(), ["0.1.0", "0.2.0"]);
  await machine.requireUntouched();
});

Deno.test("a release published again under its version replaces what was installed of it", async () => {
  await using machine = await applianceDisk();
  await runUpdate(machine.site, directorySource(await machine.publish("0.2.0")), options());
  await runUpdate(machine.site, directorySource(await machine.publish("0.3.0")), options());
  assert.deepEqual(await machine.bootable(), ["0.1.0", "0.3.0"]);
  const again = await machine.publish("0.3.0", { seed: 5 });
  await abortUpdate(machine.site);
  assert.deepEqual(await machine.bootable(), ["0.1.0"]);
  await runUpdate(machine.site, directorySource(again), options());
  await machine.requireInstalled("0.3.0");
  await machine.requireUntouched();
});

Deno.test("aborting takes back an installed update and leaves the running version alone", async () => {
  await using machine = await applianceDisk();
  assert.match(await abortUpdate(machine.site), /no update under way/);
  const source = directorySource(await machine.publish("0.2.0"));
  await runUpdate(machine.site, source, options());
  assert.match(await abortUpdate(machine.site), /0\.1\.0 starts as before/);
  assert.deepEqual(await machine.bootable(), ["0.1.0"]);
  await machine.requireUntouched();
  await runUpdate(machine.site, source, options());
  await machine.boots("0.2.0");
  assert.match(await abortUpdate(machine.site), /runs already/);
  assert.deepEqual(await machine.bootable(), ["0.1.0", "0.2.0"]);
});

Deno.test("an update that is interrupted at any step ends cleanly and can be done again or aborted", async () => {
  await using machine = await applianceDisk();
  const source = directorySource(await machine.publish("0.2.0"));
  const steps: string[] = [];
  await runUpdate(machine.site, source, options({ onStep: (step) => steps.push(step) }));
  await abortUpdate(machine.site);
  for (const stop of steps) {
    const stopper = new AbortController();
    const work = runUpdate(
      machine.site,
      source,
      options({
        signal: stopper.signal,
        onStep: (step) => {
          if (step === stop) stopper.abort(new CommandError("stopped"));
          stopper.signal.throwIfAborted();
        },
      }),
    );
    await assert.rejects(work, /stopped/, stop);
    await machine.requireUntouched();
    await abortUpdate(machine.site);
    assert.deepEqual(await machine.bootable(), ["0.1.0"], stop);
  }
  await runUpdate(machine.site, source, options());
  await machine.requireInstalled("0.2.0");
});

Deno.test("a server that breaks off is resumed where it stopped, byte for byte", async () => {
  await using machine = await applianceDisk();
  await using server = fileServer(await machine.publish("0.2.0"));
  server.cutAfter_bytes = 400_000;
  const done = await runUpdate(machine.site, httpSource(server.url), options());
  assert.ok(done.installed);
  await machine.requireInstalled("0.2.0");
  assert.ok(server.ranges > 2, "later requests asked for the rest only");
  assert.ok(server.sent_bytes < server.total_bytes * 1.2, "nothing was sent twice");
});

Deno.test("a server that is gone leaves what has arrived, and the next run goes on from there", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  {
    await using server = fileServer(folder);
    server.cutAfter_bytes = 400_000;
    server.diesAfter_bytes = 1_500_000;
    await refused(machine, httpSource(server.url), /goes on from there/);
    assert.ok(server.sent_bytes > 1_000_000);
  }
  await using server = fileServer(folder);
  await runUpdate(machine.site, httpSource(server.url), options());
  await machine.requireInstalled("0.2.0");
  assert.ok(
    server.sent_bytes < server.total_bytes - 900_000,
    "what had arrived was not sent again",
  );
});

Deno.test("a server without ranges, and one that changed the file, cost a second fetch and nothing else", async () => {
  await using machine = await applianceDisk();
  await using server = fileServer(await machine.publish("0.2.0"));
  server.cutAfter_bytes = 400_000;
  server.withoutRanges = true;
  await refused(machine, httpSource(server.url), /broke off|too early/);
  server.cutAfter_bytes = undefined;
  await runUpdate(machine.site, httpSource(server.url), options());
  await abortUpdate(machine.site);
  // A beginning that is not of this file.
  const sums = await Deno.readTextFile(join(server.folder, "SHA256SUMS"));
  const sum = /^([0-9a-f]+) {2}\S+\.root\./m.exec(sums)?.[1];
  await Deno.writeTextFile(join(machine.updates, `${sum}.partial`), "something else");
  server.withoutRanges = false;
  await Deno.remove(join(machine.updates, "staged.json"));
  await runUpdate(machine.site, httpSource(server.url), options());
  await machine.requireInstalled("0.2.0");
});

Deno.test("refusals of a server are said with its status", async () => {
  await using machine = await applianceDisk();
  await using server = fileServer(await machine.publish("0.2.0"));
  server.status = 404;
  await refused(machine, httpSource(server.url), /answered 404 for SHA256SUMS/);
  server.status = 503;
  await refused(machine, httpSource(server.url), /answered 503/);
  const url = new URL(server.url);
  await server[Symbol.asyncDispose]();
  await refused(machine, httpSource(url), /does not answer/);
});
