/**
 * A machine's disk for update tests: an image file with a boot folder and two slots, installed into by
 * the real systemd-sysupdate with transfer files like the appliance's, and releases signed by a key.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { generateKeys, type KeyTexts } from "../../image/signing/keys.ts";
import { writeSums } from "../../image/signing/release.ts";
import { formats, type FormatStamp, ownFormats } from "../../services/config/formats.ts";
import { partitionTypes, readPartitionTable } from "../../tasks/hive/disk/gpt.ts";
import { SysupdateSlots } from "../../tasks/hive/update/sysupdate_slots.ts";
import type { UpdateSite } from "../../tasks/hive/update/update.ts";

const slot_bytes = 6 << 20;
const verity_bytes = 2 << 20;
const root_bytes = 5 << 20;

async function run(program: string, args: string[], input = ""): Promise<void> {
  const child = new Deno.Command(program, { args, stdin: "piped", stdout: "null" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input));
  await writer.close();
  assert.ok((await child.status).success, `${program} ${args.join(" ")} failed`);
}

export interface ApplianceDisk extends AsyncDisposable {
  readonly directory: string;
  readonly disk: string;
  readonly boot: string;
  readonly updates: string;
  readonly site: UpdateSite;
  readonly keys: KeyTexts;
  stamp: FormatStamp | undefined;
  /** Publishes a release in a folder of its own and returns that folder. */
  publish(version: string, options?: PublishOptions): Promise<string>;
  /** What a machine that starts now would find: versions with whole slots and a kernel. */
  bootable(): Promise<string[]>;
  /** Throws unless the slot and kernel of a version hold exactly what was published. */
  requireInstalled(version: string): Promise<void>;
  /** Throws unless the running version is untouched. */
  requireUntouched(): Promise<void>;
  /** As if the machine had started into that version, and it had proven itself or is still on trial. */
  boots(version: string, how?: "proven" | "on trial"): Promise<void>;
}

export interface PublishOptions {
  readonly key?: KeyTexts | null;
  readonly seed?: number;
  readonly formats?: unknown;
  readonly architecture?: string;
}

/** The same for the same version and seed, half of it empty. */
function content(version: string, seed: number, bytes: number): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(bytes);
  let state = seed + 1;
  for (const letter of version) state = (state * 31 + letter.charCodeAt(0)) >>> 0;
  for (let at = 0; at < bytes / 2; at++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[at] = state >>> 24;
  }
  return out;
}

function uuidOf(bytes: Uint8Array): string {
  const hex = bytes.slice(0, 16).toHex();
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)]
    .join("-");
}

/** The places of a machine's disk, as another process finds them. */
export interface DiskPlaces {
  readonly directory: string;
  readonly updates: string;
  readonly boot: string;
}

export function siteOf(
  { directory, updates, boot }: DiskPlaces,
  stamp: UpdateSite["stamp"] = () => Promise.resolve(undefined),
): UpdateSite {
  return {
    directory: updates,
    keyDirectories: [join(directory, "keys"), join(directory, "more-keys")],
    architecture: "x86-64",
    slots: new SysupdateSlots({
      program: "/usr/lib/systemd/systemd-sysupdate",
      definitions: join(directory, "transfers"),
      osRelease: join(directory, "os-release"),
      disk: () => Promise.resolve(join(directory, "disk.img")),
      boot: () => Promise.resolve(boot),
      lock: join(updates, "install.lock"),
      reboot: ["touch", join(directory, "rebooted")],
    }),
    stamp,
  };
}

export async function applianceDisk(
  parts: { readonly updates?: string; readonly boot?: string } = {},
): Promise<ApplianceDisk> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-update-" });
  const at = (...names: string[]) => join(directory, ...names);
  const updates = parts.updates ?? at("updates");
  const boot = parts.boot ?? at("boot");
  for (const folder of [updates, boot, at("keys"), at("transfers"), at("published")]) {
    await Deno.mkdir(folder, { recursive: true });
  }
  const disk = at("disk.img");
  const types = [partitionTypes["root-x86-64-verity"], partitionTypes["root-x86-64"]];
  const old = { root: content("0.1.0", 0, root_bytes), kernel: "kernel of 0.1.0" };
  await Deno.writeFile(disk, new Uint8Array(0));
  await Deno.truncate(disk, 24 << 20);
  await run(
    "sfdisk",
    ["-q", disk],
    `label: gpt
size=${verity_bytes / 512}, type=${types[0]}, name=mulgaos_0.1.0_verity
size=${slot_bytes / 512}, type=${types[1]}, name=mulgaos_0.1.0
size=${verity_bytes / 512}, type=${types[0]}, name=_empty
size=${slot_bytes / 512}, type=${types[1]}, name=_empty
`,
  );
  const partition = async (name: string) => {
    const found = (await readPartitionTable(disk)).partitions.find((one) => one.name === name);
    assert.ok(found, `there is a partition ${name}`);
    return found;
  };
  const readSlot = async (name: string, bytes: number) => {
    using file = await Deno.open(disk);
    await file.seek((await partition(name)).start_bytes, Deno.SeekMode.Start);
    const out = new Uint8Array(bytes);
    for (let got = 0; got < bytes;) got += await file.read(out.subarray(got)) ?? bytes;
    return out;
  };
  {
    using file = await Deno.open(disk, { write: true });
    await file.seek((await partition("mulgaos_0.1.0")).start_bytes, Deno.SeekMode.Start);
    for (let done = 0; done < old.root.length;) done += await file.write(old.root.subarray(done));
  }
  await Deno.writeTextFile(join(boot, "mulgaos_0.1.0.efi"), old.kernel);
  const release = at("os-release");
  const boots = async (version: string, how: "proven" | "on trial" = "proven") => {
    const tried = join(boot, `mulgaos_${version}+3-0.efi`);
    const then = how === "proven" ? "" : "+2-1";
    await Deno.rename(tried, join(boot, `mulgaos_${version}${then}.efi`)).catch(() => {});
    await Deno.writeTextFile(release, `IMAGE_ID=mulgaos\nIMAGE_VERSION=${version}\n`);
    // systemd reads %A from the system that runs it, which is not this one.
    const transfer = (name: string, source: string, target: string) =>
      Deno.writeTextFile(
        at("transfers", name),
        `[Transfer]\nProtectVersion=${version}\nVerify=no\n[Source]\nType=regular-file\n` +
          `Path=${updates}\nMatchPattern=${source}\n[Target]\n${target}\n`,
      );
    const slot = (label: string, type: string) =>
      `Type=partition\nPath=${disk}\nMatchPattern=${label}\nMatchPartitionType=${type}\n` +
      `PartitionFlags=0\nReadOnly=1`;
    // Before 256 the files were called .conf; newer versions take these names too.
    await transfer(
      "10-root-verity.conf",
      "mulgaos_@v_x86-64.root-verity.@u.raw",
      slot("mulgaos_@v_verity", partitionTypes["root-x86-64-verity"]),
    );
    await transfer(
      "11-root.conf",
      "mulgaos_@v_x86-64.root.@u.raw",
      slot("mulgaos_@v", partitionTypes["root-x86-64"]),
    );
    await transfer(
      "20-kernel.conf",
      "mulgaos_@v_x86-64.efi",
      `Type=regular-file\nPath=${boot}\nMatchPattern=mulgaos_@v+@l-@d.efi mulgaos_@v+@l.efi ` +
        `mulgaos_@v.efi\nMode=0444\nTriesLeft=3\nTriesDone=0\nInstancesMax=2`,
    );
  };
  await boots("0.1.0");
  const keys = await generateKeys();
  await Deno.writeTextFile(at("keys", "release.pub"), keys.publicKey);
  const published = new Map<string, { root: Uint8Array; verity: Uint8Array; kernel: string }>();
  const made: ApplianceDisk = {
    directory,
    disk,
    boot,
    updates,
    keys,
    stamp: {
      v: 1,
      release: "0.1.0",
      formats: Object.fromEntries(
        Object.entries(formats).map(([name, { writes }]) => [name, writes]),
      ),
    },
    site: siteOf({ directory, updates, boot }, () => Promise.resolve(made.stamp)),
    async publish(version, options = {}) {
      const folder = at("published", `${version}-${crypto.randomUUID().slice(0, 8)}`);
      await Deno.mkdir(folder);
      const seed = options.seed ?? 0;
      const root = content(version, seed, root_bytes);
      const verity = content(`${version}v`, seed, 1 << 20);
      const kernel = `kernel of ${version}, ${seed} ${"x".repeat(100_000)}`;
      published.set(version, { root, verity, kernel });
      const stem = `mulgaos_${version}_${options.architecture ?? "x86-64"}`;
      const files = new Map<string, Uint8Array | string>([
        [`${stem}.root.${uuidOf(root)}.raw`, root],
        // As mkosi calls them; systemd reads an id with and without its hyphens.
        [`${stem}.root-verity.${uuidOf(verity).replaceAll("-", "")}.raw`, verity],
        [`${stem}.efi`, kernel],
        [`${stem}.formats.json`, JSON.stringify(options.formats ?? ownFormats(version))],
        // Beside the parts of an update, and none of them.
        [`${stem}.raw.zst`, "the whole disk"],
        [`${stem}.manifest`, "packages"],
      ]);
      const names: string[] = [];
      for (const [name, body] of files) {
        const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
        await Deno.writeFile(join(folder, name), bytes);
        if (/\.root.*\.raw$/.test(name)) {
          await run("zstd", ["-q", "--rm", join(folder, name)]);
          names.push(`${name}.zst`);
        } else names.push(name);
      }
      const key = options.key === undefined ? keys : options.key;
      await writeSums(
        folder,
        names,
        key === null ? undefined : { text: key.privateKey, path: "key" },
      );
      return folder;
    },
    async bootable() {
      return (await made.site.slots.list()).filter((one) => one.state !== "incomplete")
        .map((one) => one.version);
    },
    async requireInstalled(version) {
      const want = published.get(version);
      assert.ok(want);
      const kernels = [...Deno.readDirSync(boot)].map((entry) => entry.name)
        .filter((name) => name.startsWith(`mulgaos_${version}`));
      assert.equal(kernels.length, 1, kernels.join());
      assert.equal(await Deno.readTextFile(join(boot, kernels[0] ?? "")), want.kernel);
      const slot = `mulgaos_${version}`;
      assert.deepEqual(
        await readSlot(slot, root_bytes),
        want.root,
        "the slot is what was published",
      );
      assert.deepEqual(await readSlot(`${slot}_verity`, want.verity.length), want.verity);
      assert.equal((await partition(slot)).uuid, uuidOf(want.root));
    },
    async requireUntouched() {
      assert.equal(await Deno.readTextFile(join(boot, "mulgaos_0.1.0.efi")), old.kernel);
      assert.deepEqual(await readSlot("mulgaos_0.1.0", root_bytes), old.root);
    },
    boots,
    async [Symbol.asyncDispose]() {
      await Deno.remove(directory, { recursive: true });
    },
  };
  return made;
}
