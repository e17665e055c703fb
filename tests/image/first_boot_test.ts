/**
 * From power-on to an answering API on the image that users flash: without a seed, by the claim; and with
 * one from each place where it may lie.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import config from "../../deno.json" with { type: "json" };
import { type Appliance, buildAppliance } from "../../image/appliance/build.ts";
import { until } from "../kit/until.ts";
import { host, Machine } from "./machine.ts";

/** Many times what an idle two-core machine takes: every instruction is emulated. */
const start_ms = 900_000;
const ports = { gateway: 9999, control: 8443 } as const;

let built: Promise<Appliance> | undefined;
const appliance = () => built ??= buildAppliance({ version: config.version });

interface Claimed {
  readonly access_key_id: string;
  readonly secret_access_key: string;
  readonly az: string;
  readonly ca_certificate: string;
  readonly error?: string;
}

/** curl on this host. */
async function curl(...args: string[]): Promise<{ readonly ok: boolean; readonly text: string }> {
  const { success, stdout, stderr } = await new Deno.Command("curl", {
    args: ["--silent", "--show-error", "--max-time", "60", ...args],
  }).output();
  const text = new TextDecoder().decode(success ? stdout : stderr);
  return { ok: success, text };
}

/** Who the API says is calling, with that key; undefined while it does not answer. */
async function caller(machine: Machine, key: Claimed): Promise<string | undefined> {
  const ca = join(machine.directory, "ca.crt");
  await Deno.writeTextFile(ca, key.ca_certificate);
  const { success, stdout } = await new Deno.Command("aws", {
    args: [
      ...["--endpoint-url", `https://127.0.0.1:${machine.port(ports.gateway)}`],
      ...["sts", "get-caller-identity", "--query", "Arn", "--output", "text"],
    ],
    env: {
      AWS_ACCESS_KEY_ID: key.access_key_id,
      AWS_SECRET_ACCESS_KEY: key.secret_access_key,
      AWS_DEFAULT_REGION: key.az.slice(0, -1),
      AWS_CA_BUNDLE: ca,
      AWS_CONFIG_FILE: "/dev/null",
      AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
      AWS_EC2_METADATA_DISABLED: "true",
      AWS_PAGER: "",
    },
    stderr: "null",
  }).output();
  return success ? new TextDecoder().decode(stdout).trim() : undefined;
}

async function withConsole(machine: Machine, name: string, work: () => Promise<void>) {
  try {
    await work();
  } catch (error) {
    const path = `/tmp/mulga-${name}-console.log`;
    await machine.keepConsole(path);
    console.log(`the console's text is in ${path}`);
    throw error;
  }
}

/** What the first-boot step recorded, once it has run. */
async function record(machine: Machine): Promise<{ source: string; hostname: string }> {
  const file = "/var/lib/mulga/first-boot.json";
  await machine.shell(start_ms);
  await machine.run(`until [ -s ${file} ]; do sleep 1; done`, start_ms);
  return JSON.parse(await machine.run(`cat ${file}`));
}

Deno.test({
  name: "without a seed a box shows how to claim it, is claimed once by curl, and its API answers",
  async fn() {
    await using machine = await Machine.create({
      image: (await appliance()).raw,
      seed: null,
      memory_mib: 3072,
      forward: [ports.gateway, ports.control],
    });
    await withConsole(machine, "claim", async () => {
      await machine.start();
      await machine.says("This box is not claimed yet", start_ms);
      console.log(`power-on to the claim on the screen: ${machine.uptime_s().toFixed(0)} s`);
      const line = () =>
        machine.console().then((said) =>
          // The last one: with an address.
          [...said.matchAll(
            /--pinnedpubkey '(\S+)' https:\/\/([\d.]+):8443\/claim -d code=(\S+)/g,
          )].at(-1)
        );
      const [, pin = "", , code = ""] = await until("the curl line", line, start_ms);
      const box = `https://127.0.0.1:${machine.port(ports.control)}`;
      const pinned = ["-k", "--pinnedpubkey", pin];
      const status = await curl(...pinned, `${box}/status`);
      assert.equal(JSON.parse(status.text).claim, "box", status.text);
      // Nobody can use what is not there.
      const listening = await machine.run("ss -Hltn | awk '{ print $4 }'", start_ms);
      assert.ok(!/:(9999|9002|4222)\b/.test(listening), listening);
      assert.match(await machine.run("hive admin health --timeout 60"), /waits to be claimed/);

      const wrong = await curl(...pinned, `${box}/claim`, "-d", "code=2222-2222");
      assert.match(JSON.parse(wrong.text).error, /not the code/);
      const right = await curl(
        ...pinned,
        `${box}/claim`,
        ...["-d", `code=${code}&region=eu-north-1&hostname=node7`],
      );
      const claimed: Claimed = JSON.parse(right.text);
      assert.equal(claimed.az, "eu-north-1a", right.text);
      const since = machine.uptime_s();
      assert.match(
        await until("the API", () => caller(machine, claimed), start_ms),
        /:user\/admin$/,
      );
      console.log(`claim to API: ${(machine.uptime_s() - since).toFixed(0)} s`);
      await machine.says("Console  https://", start_ms);
      assert.equal((await machine.run("hostname")).trim(), "node7");
      const again = await until("the control server", async () => {
        const { ok, text } = await curl("-k", `${box}/claim`, "-d", `code=${code}`);
        return ok ? text : undefined;
      }, start_ms);
      assert.match(JSON.parse(again).error, /claimed already/);
      await machine.run("! test -e /var/lib/mulga/cluster/claim.json");
      assert.equal((await machine.run("systemctl --failed --plain --no-legend")).trim(), "");
    });
  },
});

Deno.test({
  name:
    "mulga.yaml on the boot partition sets a box up with the key that it brings, and loses its secrets",
  async fn() {
    const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-card-" });
    try {
      // What somebody does who flashes a card and opens its first partition.
      const card = join(work, "card.raw");
      await host("cp", "--sparse=always", (await appliance()).raw, card);
      const table = JSON.parse(await host("sfdisk", "--json", card)).partitiontable;
      const esp = table.partitions.find(({ type }: { type: string }) =>
        type.toUpperCase() === "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
      );
      const key = {
        access_key_id: "AKIAGIVENGIVENGIVEN2",
        secret_access_key: "0123456789/0123456789+0123456789/0123456",
        az: "eu-north-1a",
      };
      const seed = join(work, "mulga.yaml");
      await Deno.writeTextFile(
        seed,
        `version: 1
hostname: node3
region: eu-north-1
admin: {access_key_id: ${key.access_key_id}, secret_access_key: ${key.secret_access_key}}
network: {interfaces: [{name: "e*", dhcp: true}]}
storage: {data_disk: {bus: virtio, max_gib: 4}}
ssh: {keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ1kPNTGjfyW8Pfm0TYmjPDyKIBSdaAGFIBWYyB1PD me]}
`,
      );
      const data = join(work, "data.raw");
      await host("truncate", "--size", "3G", data);
      await host("mcopy", "-i", `${card}@@${esp.start * 512}`, seed, "::mulga.yaml");
      await using machine = await Machine.create({
        image: card,
        seed: null,
        disks: [{ path: data, format: "raw", serial: "data" }],
        memory_mib: 3072,
        forward: [ports.gateway],
      });
      await withConsole(machine, "card", async () => {
        await machine.start();
        const { source, hostname } = await record(machine);
        assert.equal(source, "mulga.yaml on the boot partition");
        assert.equal(hostname, "node3");
        const ca_certificate = await machine.run("cat /var/lib/mulga/tls/ca.crt");
        const arn = await until(
          "the API",
          () => caller(machine, { ...key, ca_certificate }),
          start_ms,
        );
        console.log(`power-on to API by mulga.yaml: ${machine.uptime_s().toFixed(0)} s`);
        assert.match(arn, /:user\/admin$/);
        const left = await machine.run("cat /efi/mulga.yaml /boot/mulga.yaml 2>/dev/null || true");
        assert.match(left, /secrets of this file were used/);
        assert.ok(!left.includes(key.secret_access_key));
        assert.equal((await machine.run("systemctl is-active ssh.service")).trim(), "active");
        assert.equal((await machine.run("hostname")).trim(), "node3");
        assert.match(
          await machine.run("findmnt --noheadings --output SOURCE,LABEL /mnt"),
          /mulga-data/,
        );
        assert.match(await machine.run("cat /var/lib/mulga/config.json"), /"\/mnt\/blobs"/);
        // The block engine's logs are on that disk too.
        assert.match(
          await machine.run("findmnt --noheadings --output SOURCE /var/lib/mulga/viperblock"),
          /\/dev\/\w+\[\/viperblock\]/,
        );
        assert.match(await machine.run("networkctl status --no-pager 'e*'"), /50-mulga-0/);
      });
    } finally {
      await Deno.remove(work, { recursive: true });
    }
  },
});

Deno.test({
  name:
    "a CIDATA medium, then the firmware's credential: each is found, and a malformed seed is one sentence",
  async fn() {
    const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-cidata-" });
    try {
      const stick = join(work, "stick.raw");
      await host("truncate", "--size", "8M", stick);
      await host("mkfs.vfat", "-n", "CIDATA", stick);
      const put = async (text: string) => {
        const file = join(work, "user-data");
        await Deno.writeTextFile(file, text);
        await host("mcopy", "-o", "-i", stick, file, "::user-data");
      };
      await put("#cloud-config\nmulga:\n  version: 1\n  hostnam: node4\n");
      await using machine = await Machine.create({
        image: (await appliance()).raw,
        seed: "version: 1\nhostname: node5\n",
        disks: [{ path: stick, format: "raw", serial: "stick" }],
      });
      await withConsole(machine, "cidata", async () => {
        await machine.start();
        await machine.says('user-data, line 4, column 3: the seed knows no "hostnam"', start_ms);
        await machine.says("This box is not claimed yet", start_ms);
        await machine.cutPower();

        await put("#cloud-config\nmulga:\n  version: 1\n  hostname: node4\n");
        await machine.start();
        await until("the medium's seed", async () => {
          const { source, hostname } = await record(machine);
          return hostname === "node4" && /user-data on the medium CIDATA/.test(source)
            ? true
            : undefined;
        }, start_ms);
        await machine.cutPower();

        await put("#cloud-config\n");
        await machine.start();
        await until("the credential's seed", async () => {
          const { source, hostname } = await record(machine);
          return hostname === "node5" && /credential/.test(source) ? true : undefined;
        }, start_ms);
      });
    } finally {
      await Deno.remove(work, { recursive: true });
    }
  },
});
