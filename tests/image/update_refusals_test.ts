/**
 * What an update in the running appliance refuses: each with one sentence, and the running version goes on
 * untouched. Nothing here needs a second image, since nothing of what is offered is ever installed.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { generateKeys } from "../../image/signing/keys.ts";
import { writeSums } from "../../image/signing/release.ts";
import { ownFormats } from "../../services/config/formats.ts";
import { Machine } from "./machine.ts";
import { healthy, runningVersion } from "./node.ts";
import { first, serveFolder, testKey, version } from "./versions.ts";

interface Offer {
  readonly version: string;
  /** Another's key, or none. */
  readonly key?: string | null;
  readonly formats?: unknown;
  /** Bytes of the root's file; random, so that they are as many compressed. */
  readonly root_bytes?: number;
}

/** A release whose parts are well signed and mean nothing. */
async function offer(work: string, { version, ...options }: Offer): Promise<string> {
  const directory = join(work, crypto.randomUUID());
  await Deno.mkdir(directory);
  const uuid = crypto.randomUUID();
  const stem = `mulgaos_${version}_x86-64`;
  const put = async (name: string, bytes: Uint8Array) => {
    await Deno.writeFile(join(directory, name), bytes);
    if (!name.endsWith(".raw")) return name;
    const { success } = await new Deno.Command("zstd", {
      args: ["-q", "--rm", join(directory, name)],
    }).output();
    assert.ok(success);
    return `${name}.zst`;
  };
  const root = new Uint8Array(options.root_bytes ?? 100_000);
  for (let at = 0; at < root.length; at += 65_536) {
    crypto.getRandomValues(root.subarray(at, Math.min(root.length, at + 65_536)));
  }
  const text = (words: unknown) => new TextEncoder().encode(JSON.stringify(words));
  const names = [
    await put(`${stem}.root.${uuid}.raw`, root),
    await put(`${stem}.root-verity.${uuid}.raw`, new Uint8Array(4096)),
    await put(`${stem}.efi`, text("kernel")),
    await put(`${stem}.formats.json`, text(options.formats ?? ownFormats(version))),
  ];
  const own = await testKey();
  const key = options.key === undefined ? await Deno.readTextFile(own) : options.key;
  await writeSums(directory, names, key === null ? undefined : { text: key, path: "key" });
  return directory;
}

Deno.test({
  name: "whatever is wrong with an update is said in a sentence, and the appliance goes on",
  sanitizeOps: false,
  sanitizeResources: false,
}, async (t) => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-refusals-" });
  try {
    const product = await version(work, { version: first });
    await using machine = await Machine.create({ image: product.raw, memory_mib: 3072 });
    await machine.start();
    // A machine that emulates several others takes minutes to the first prompt.
    await machine.shell(1_800_000);
    await healthy(machine, 1_800_000);
    const layout = () =>
      machine.run("lsblk --noheadings --output PARTLABEL,PARTUUID /dev/vda; ls /boot/EFI/Linux");
    const before = await layout();
    const refused = async (name: string, directory: string, words: RegExp, more = "") => {
      await t.step(name, async () => {
        await using server = serveFolder(directory);
        const said = await machine.run(
          `hive update --from ${server.url} ${more} > /run/said 2>&1; ` +
            "echo code $?; tail -1 /run/said",
          600_000,
        );
        assert.match(said, /^code 1$/m);
        assert.match(said, words);
        assert.equal(await layout(), before, "no slot and no kernel image was touched");
        assert.equal(await runningVersion(machine), first);
      });
    };
    const stranger = (await generateKeys()).privateKey;
    await refused(
      "signed by a stranger",
      await offer(work, { version: "0.2.0", key: stranger }),
      /none of the keys that this system trusts \(release\.pub\)/,
    );
    await refused("not signed", await offer(work, { version: "0.2.0", key: null }), /not signed/);
    await refused(
      "not signed, though the operator would take it",
      await offer(work, { version: "0.2.0", key: null }),
      /not signed/,
      "--allow-unsigned",
    );
    await refused("older", await offer(work, { version: "0.0.9" }), /older than 0\.1\.0/);
    await refused(
      "cannot read this state",
      await offer(work, {
        version: "0.2.0",
        formats: { version: "0.2.0", reads: { ...ownFormats().reads, volume_log: [99] } },
      }),
      /newer than release 0\.2\.0 can read: viperblock's log/,
    );
    const corrupt = await offer(work, { version: "0.2.0" });
    for (const { name } of Deno.readDirSync(corrupt)) {
      if (!/\.root\./.test(name)) continue;
      const bytes = await Deno.readFile(join(corrupt, name));
      bytes[1000] = (bytes[1000] ?? 0) ^ 1;
      await Deno.writeFile(join(corrupt, name), bytes);
    }
    await refused("a corrupt download", corrupt, /is not what was signed/);
    const missing = await offer(work, { version: "0.2.0" });
    for (const { name } of Deno.readDirSync(missing)) {
      if (/\.efi$/.test(name)) await Deno.remove(join(missing, name));
    }
    await refused("a file that the server lacks", missing, /answered 404/);
    await t.step("a full data partition", async () => {
      // All but a few MiB; the file system's own reserve is root's, so it goes too.
      await machine.run(
        "fallocate -l $(( $(df --output=avail -B1 /var | tail -1) - 20000000 )) /var/filler",
      );
    });
    await refused(
      "no room for what is offered",
      await offer(work, { version: "0.2.0" }),
      /needs .* and .* are free/,
    );
    await machine.run("rm /var/filler");
    await t.step("a full boot partition", async () => {
      await machine.run("dd if=/dev/zero of=/boot/filler bs=1M 2> /dev/null; sync; true", 600_000);
    });
    await refused(
      "no room for the kernel image",
      await offer(work, { version: "0.2.0" }),
      /The boot partition .* free and the new kernel image needs/,
    );
    await machine.run("rm /boot/filler");
    await t.step("no stick, no server, no such place", async () => {
      for (
        const [from, words] of [
          ["usb", /No USB stick with a file system is plugged in/],
          ["http://10.0.2.2:1/", /does not answer/],
          ["/nowhere", /cannot be read/],
        ] as const
      ) {
        const said = await machine.run(`hive update --from ${from} 2>&1 | tail -1`, 300_000);
        assert.match(said, words);
      }
    });
    await t.step("afterwards all is well, and nothing of it is left", async () => {
      await machine.run("hive update --abort");
      const status = JSON.parse(await machine.run("hive update --status --json"));
      assert.equal(status.current, first);
      assert.equal(status.state.phase, "idle");
      assert.equal(
        (await machine.run("ls /var/lib/updates | grep -c partial || true")).trim(),
        "0",
      );
      await machine.run("hive admin health --timeout 300", 400_000);
      // A bundle can be made here too, and says what runs.
      await machine.run("hive support /var/tmp/bundle.tar.zst > /dev/null 2>&1", 600_000);
      await machine.run("test -s /var/tmp/bundle.tar.zst");
    });
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});
