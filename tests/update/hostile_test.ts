/** Servers and folders that mean harm, or are broken in ways that no release is. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { directorySource, httpSource, type Source } from "../../tasks/hive/update/source.ts";
import { lockUpdates, readState, writeState } from "../../tasks/hive/update/state.ts";
import { statusText, updateStatus } from "../../tasks/hive/update/status.ts";
import {
  abortUpdate,
  findUpdate,
  runUpdate,
  type UpdateOptions,
} from "../../tasks/hive/update/update.ts";
import { CommandError } from "../../tasks/terminal/command.ts";
import { applianceDisk } from "./appliance_disk.ts";

const options: UpdateOptions = {
  signal: new AbortController().signal,
  progress: () => {},
  pause_ms: 1,
  silence_ms: 200,
};

async function refusal(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    assert.ok(error instanceof CommandError, `${error instanceof Error ? error.stack : error}`);
    assert.doesNotMatch(error.message, /\n/, "one line");
    return error.message;
  }
  throw new assert.AssertionError({ message: "not refused" });
}

type Answer = (name: string, request: Request) => Response | undefined;

/** A server of a folder, but for what `answer` says otherwise. */
function server(folder: string, answer: Answer) {
  const running = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {}, onError: () => new Response() },
    async (request) => {
      const name = decodeURIComponent(new URL(request.url).pathname.split("/").at(-1) ?? "");
      const other = answer(name, request);
      if (other !== undefined) return other;
      const bytes = await Deno.readFile(join(folder, name)).catch(() => undefined);
      return bytes === undefined
        ? new Response(null, { status: 404 })
        : new Response(request.method === "HEAD" ? null : bytes, {
          headers: { "content-length": String(bytes.length) },
        });
    },
  );
  return {
    source: httpSource(new URL(`http://127.0.0.1:${running.addr.port}/releases/`)),
    [Symbol.asyncDispose]: () => running.shutdown(),
  };
}

/** A body that begins and then says nothing more for as long as somebody listens. */
function silentAfter(bytes: number): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start: (controller) => controller.enqueue(new Uint8Array(bytes).fill(0x30)),
  });
}

/** A body without an end. */
function endless(): { body: ReadableStream<Uint8Array>; sent_bytes: () => number } {
  let sent = 0;
  return {
    body: new ReadableStream({
      pull(controller) {
        sent += 1 << 20;
        controller.enqueue(new Uint8Array(1 << 20));
      },
    }),
    sent_bytes: () => sent,
  };
}

Deno.test("a list that never ends, and one that breaks off, is said and holds nobody up", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  for (const name of ["SHA256SUMS", "SHA256SUMS.sig"]) {
    await using silent = server(
      folder,
      (asked) => asked === name ? new Response(silentAfter(100)) : undefined,
    );
    assert.match(
      await refusal(runUpdate(machine.site, silent.source, options)),
      new RegExp(`broke off in ${name}`),
    );
    await using short = server(folder, (asked) =>
      asked === name
        ? new Response(
          new ReadableStream({
            start(controller) {
              controller.enqueue(new Uint8Array(10));
              controller.error(new Error("cut"));
            },
          }),
        )
        : undefined);
    assert.match(
      await refusal(runUpdate(machine.site, short.source, options)),
      new RegExp(`broke off in ${name}`),
    );
  }
});

Deno.test("a file without an end fills no disk: what is longer than its slot is thrown away", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  for (const part of [/\.root\./, /\.formats\.json$/]) {
    const flood = endless();
    await using hostile = server(
      folder,
      (name, request) =>
        part.test(name) && request.method === "GET" ? new Response(flood.body) : undefined,
    );
    const said = await refusal(runUpdate(machine.site, hostile.source, options));
    assert.match(said, /is longer than .* thrown away/);
    assert.ok(flood.sent_bytes() < 64 << 20, `${flood.sent_bytes()} bytes were sent`);
    for (const { name } of Deno.readDirSync(machine.updates)) {
      assert.ok(Deno.statSync(join(machine.updates, name)).size < 16 << 20, name);
    }
  }
  assert.deepEqual(await machine.bootable(), ["0.1.0"]);
  await runUpdate(machine.site, directorySource(folder), options);
  await machine.requireInstalled("0.2.0");
});

Deno.test("a server that sends on elsewhere is followed, and one that sends round in circles is said", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  await using circle = server(
    folder,
    () => new Response(null, { status: 302, headers: { location: "/releases/again" } }),
  );
  assert.match(
    await refusal(runUpdate(machine.site, circle.source, options)),
    /does not answer.*redirect/i,
  );
  await using elsewhere = server(
    folder,
    (name, request) =>
      new URL(request.url).pathname.startsWith("/releases/")
        ? new Response(null, { status: 307, headers: { location: `/mirror/${name}` } })
        : undefined,
  );
  await runUpdate(machine.site, elsewhere.source, options);
  await machine.requireInstalled("0.2.0");
});

Deno.test("a server that gives files and tells no sizes is good enough", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  for (const status of [405, 501]) {
    await using plain = server(
      folder,
      (_, request) => request.method === "HEAD" ? new Response(null, { status }) : undefined,
    );
    assert.ok((await runUpdate(machine.site, plain.source, options)).installed);
    await machine.requireInstalled("0.2.0");
    await abortUpdate(machine.site);
  }
});

Deno.test("a list that was edited on Windows is refused by its signature, or by its line", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const list = join(folder, "SHA256SUMS");
  await Deno.writeTextFile(list, (await Deno.readTextFile(list)).replaceAll("\n", "\r\n"));
  assert.match(
    await refusal(runUpdate(machine.site, directorySource(folder), options)),
    /none of the keys/,
  );
  await Deno.remove(join(machine.directory, "keys/release.pub"));
  const unchecked = { ...options, allowUnsigned: true };
  const said = await refusal(runUpdate(machine.site, directorySource(folder), unchecked));
  assert.match(said, /line 1 is no checksum/);
  assert.equal((await readState(machine.updates)).last_error, said, "--status tells it too");
});

Deno.test("a pipe or a directory in the place of a file is said and holds nobody up", async () => {
  await using machine = await applianceDisk();
  const folder = await machine.publish("0.2.0");
  const list = join(folder, "SHA256SUMS");
  await Deno.remove(list);
  await new Deno.Command("mkfifo", { args: [list] }).output();
  const source: Source = directorySource(folder);
  assert.match(
    await refusal(runUpdate(machine.site, source, options)),
    /SHA256SUMS in .* is no file/,
  );
  await Deno.remove(list);
  await Deno.mkdir(list);
  assert.match(
    await refusal(runUpdate(machine.site, source, options)),
    /SHA256SUMS in .* is no file/,
  );
});

Deno.test("a version that was tried and went back is not offered by itself again", async () => {
  await using machine = await applianceDisk();
  const source = directorySource(await machine.publish("0.2.0"));
  await runUpdate(machine.site, source, options);
  const offered = async (from: Source) => await findUpdate(machine.site, from, options);
  assert.equal((await offered(source)).rolledBack, false, "it has not been tried yet");
  const state = await readState(machine.updates);
  assert.equal(state.phase, "installed");
  // The machine has started twice meanwhile, and runs what it ran.
  await writeState(machine.updates, { ...state, boot_id: crypto.randomUUID() } as typeof state);
  assert.deepEqual(
    { ...await offered(source), release: null },
    { current: "0.1.0", signer: "release.pub", newer: true, rolledBack: true, release: null },
  );
  const next = directorySource(await machine.publish("0.3.0"));
  assert.equal((await offered(next)).rolledBack, false, "the next one may be better");
  // Whoever asks for it gets it.
  assert.ok((await runUpdate(machine.site, source, options)).installed);
});

Deno.test("an update that was cut off at its last word and started all the same is done", async () => {
  await using machine = await applianceDisk();
  const source = directorySource(await machine.publish("0.2.0"));
  await runUpdate(machine.site, source, options);
  await writeState(machine.updates, { phase: "installing", version: "0.2.0", source: "there" });
  await machine.boots("0.2.0");
  const status = await updateStatus(machine.site);
  assert.equal(status.outcome, "done");
  assert.match(statusText(status), /The update to 0\.2\.0 is done/);
  assert.match(await abortUpdate(machine.site), /runs already/);
  assert.deepEqual(await readState(machine.updates), { phase: "idle" });
});

Deno.test("whoever only looks at the state keeps no update from beginning", async () => {
  await using machine = await applianceDisk();
  using looking = await Deno.open(join(machine.updates, "lock"), { create: true, write: true });
  await looking.lock(true);
  const waiting = lockUpdates(machine.updates);
  setTimeout(() => looking.unlockSync(), 50);
  using lock = await waiting;
  assert.ok(lock.held);
});

Deno.test(
  "on a disk without a single free byte an update is refused and can be taken back",
  { ignore: Deno.uid() !== 0 },
  async () => {
    const at = await Deno.makeTempDir({ prefix: "mulga-full-" });
    const mount = await new Deno.Command("mount", {
      args: ["-t", "tmpfs", "-o", "size=2m", "tmpfs", at],
    }).output();
    assert.ok(mount.success);
    try {
      await using machine = await applianceDisk({ updates: join(at, "updates") });
      const source = directorySource(await machine.publish("0.2.0"));
      using filler = await Deno.open(join(at, "filler"), { write: true, create: true });
      await assert.rejects(async () => {
        for (;;) await filler.write(new Uint8Array(4_096));
      }, /No space left/);
      {
        using _lock = await lockUpdates(machine.updates);
        assert.match(await refusal(runUpdate(machine.site, source, options)), /No space left|free/);
      }
      {
        using _lock = await lockUpdates(machine.updates);
        assert.match(await abortUpdate(machine.site), /no update under way/);
      }
      assert.deepEqual(await machine.bootable(), ["0.1.0"]);
    } finally {
      await new Deno.Command("umount", { args: [at] }).output();
      await Deno.remove(at);
    }
  },
);
