/** A restore that is killed, or that finds no room: the old node or the whole new one, and nothing left over. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { Table } from "../../services/state/table.ts";
import { makeBackup, openBackup } from "../../tasks/hive/backup/backup.ts";
import { placeOf } from "../../tasks/hive/backup/place.ts";
import { restore } from "../../tasks/hive/backup/restore.ts";
import { initNode } from "../../tasks/init/init.ts";
import { placeNatsServer } from "../../tasks/setup/nats_server.ts";
import { natsGreets } from "../../tasks/supervisor/health_probe.ts";
import { CommandError } from "../../tasks/terminal/command.ts";
import { testLog } from "../kit/nats.ts";
import { startNode } from "../kit/node.ts";
import { until } from "../kit/until.ts";

const passphrase = "a passphrase of the test";
const opener = { passphrase: () => Promise.resolve(passphrase) };
const noS3 = () => Promise.reject(new Error("no S3 here"));
const module = (path: string) => JSON.stringify(new URL(`../../${path}`, import.meta.url).href);

/** A backup of a node, and that node's id. */
async function saved(directory: string) {
  await using node = await startNode();
  {
    await using table = await Table.open<{ noise: string }>(
      await node.bus("identity"),
      "iam_users",
      testLog,
    );
    for (let n = 0; n < 40; n++) {
      const noise = crypto.getRandomValues(new Uint8Array(32 * 1024)).toBase64();
      await table.create(`1.row-${n}`, { noise });
    }
  }
  const place = await placeOf(join(directory, "state.backup"), noS3);
  await makeBackup(node, place, { kind: "passphrase", passphrase }, () => {});
  return { place, node_id: node.config.node_id };
}

async function machineIn(directory: string) {
  const data = join(directory, "data");
  const paths = pathsOf(data);
  await Deno.mkdir(paths.bin, { recursive: true });
  await placeNatsServer(paths);
  return { data, paths };
}

const left = (data: string) =>
  [...Deno.readDirSync(data)].map(({ name }) => name).filter((name) => name.startsWith("restore"));

Deno.test("kill -9 of a restore leaves a node that starts, and nothing of what was begun", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-kill-" });
  try {
    const { place, node_id } = await saved(directory);
    for (const stop of ["files", "streams", "journal", "swap nats", "swap config.json", "done"]) {
      const { data, paths } = await machineIn(join(directory, stop.replace(/\W/g, "")));
      const old = await initNode(data, { ports: { auto: true } });
      const script = `
        import { openBackup } from ${module("tasks/hive/backup/backup.ts")};
        import { placeOf } from ${module("tasks/hive/backup/place.ts")};
        import { restore } from ${module("tasks/hive/backup/restore.ts")};
        import { pathsOf } from ${module("services/config/node_config.ts")};
        const place = await placeOf(${JSON.stringify(place.name)}, () => {});
        const opener = { passphrase: () => Promise.resolve(${JSON.stringify(passphrase)}) };
        await restore(await openBackup(place, opener), pathsOf(${JSON.stringify(data)}), {
          overwrite: true,
          progress: () => {},
          onStep: (step) => step === ${JSON.stringify(stop)} && Deno.kill(Deno.pid, "SIGKILL"),
        });`;
      const { signal, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["eval", "--quiet", script],
      }).output();
      assert.equal(signal, "SIGKILL", `${stop}: ${new TextDecoder().decode(stderr)}`);
      const { config } = await initNode(data);
      const journalled = stop.startsWith("swap") || stop === "done";
      assert.equal(config.node_id, journalled ? node_id : old.config.node_id, stop);
      assert.deepEqual(left(data), [], stop);
      assert.ok(await Deno.stat(paths.masterKey));
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("a state store of one's own ends with whoever started it, even by kill -9", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-kill-" });
  try {
    const { data } = await machineIn(directory);
    const script = `
      import { startStateServer } from ${module("tasks/hive/backup/state_server.ts")};
      import { pathsOf } from ${module("services/config/node_config.ts")};
      const paths = pathsOf(${JSON.stringify(data)});
      const server = await startStateServer(paths, ${JSON.stringify(join(data, "store"))});
      console.log(new URL("nats://" + server.nats.getServer()).port);
      setInterval(() => {}, 1000);`;
    const owner = new Deno.Command(Deno.execPath(), {
      args: ["eval", "--quiet", script],
      stdout: "piped",
    }).spawn();
    const reader = owner.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const port = Number((await reader.read()).value);
    assert.ok(await natsGreets(port));
    owner.kill("SIGKILL");
    await owner.status;
    await reader.cancel();
    // Two servers over one store would be the end of it.
    await until("the store has ended", async () => !await natsGreets(port));
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test(
  "a restore without room is one sentence, and the node is what it was",
  { ignore: Deno.uid() !== 0 },
  async () => {
    const directory = await Deno.makeTempDir({ prefix: "mulga-kill-" });
    const small = join(directory, "small");
    await Deno.mkdir(small);
    const mount = await new Deno.Command("mount", {
      args: ["-t", "tmpfs", "-o", "size=64m", "tmpfs", small],
    }).output();
    assert.ok(mount.success);
    try {
      const { place } = await saved(directory);
      const content = await openBackup(place, opener);
      const { data, paths } = await machineIn(small);
      const old = await initNode(data, { ports: { auto: true } });
      const filler = join(small, "filler");
      for (const free_bytes of [0, 256 * 1024]) {
        {
          using file = await Deno.open(filler, { write: true, create: true });
          await assert.rejects(async () => {
            for (;;) await file.write(new Uint8Array(4_096));
          }, /No space left/);
          await file.truncate((await file.stat()).size - free_bytes);
        }
        await assert.rejects(
          restore(content, paths, { overwrite: true, progress: () => {} }),
          (error: Error) => {
            assert.ok(error instanceof CommandError, error.stack);
            assert.match(error.message, /Nothing was changed/);
            assert.doesNotMatch(error.message, /\n/);
            return true;
          },
        );
        assert.deepEqual(left(data), []);
        assert.equal((await initNode(data)).config.node_id, old.config.node_id);
        await Deno.remove(filler);
      }
    } finally {
      await new Deno.Command("umount", { args: [small] }).output();
      await Deno.remove(directory, { recursive: true });
    }
  },
);
