/**
 * The life of one appliance, on the image that users flash: first boot to an answering API, an instance,
 * a reboot, an update that proves itself, one that does not, and a factory reset. What the user has
 * (volumes, objects, keys, settings) must be there from the first boot to the reset.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { until } from "../kit/until.ts";
import { tinyGuestImage } from "../kit/tiny_guest.ts";
import { Machine } from "./machine.ts";
import {
  administrator,
  answers,
  type Client,
  healthy,
  ports,
  runningVersion,
  seedCredential,
} from "./node.ts";
import { first, release, second, serveFolder, third, unhealthyTree, version } from "./versions.ts";

interface Instance {
  readonly InstanceId: string;
  readonly State: { readonly Name: string };
}

async function instanceOf(client: Client, id: string): Promise<Instance> {
  const { Reservations } = await client.aws<{ Reservations: { Instances: Instance[] }[] }>(
    ...["ec2", "describe-instances", "--instance-ids", id],
  );
  const instance = Reservations[0]?.Instances[0];
  assert.ok(instance, `${id} is described`);
  return instance;
}

/** The instance runs, started again if the machine's restart stopped it, and its shell answers. */
async function instanceIsUp(machine: Machine, client: Client, id: string): Promise<void> {
  const { State } = await instanceOf(client, id);
  if (State.Name === "stopped") await client.aws("ec2", "start-instances", "--instance-ids", id);
  const log = `/var/lib/mulga/compute/machines/${id}/console.log`;
  // It is there from the moment on that the instance starts, which its launch does not wait for.
  const said = () => machine.run(`[ ! -e ${log} ] || tail -c 3000 ${log}`);
  try {
    // Nothing is typed into its firmware, which takes keys for a wish to choose what to start.
    await until(`${id} to be ready`, async () => {
      return (await said()).includes(`ready instance=${id}`) ? true : undefined;
    }, 1_200_000);
  } catch (cause) {
    const processes = await machine.run("top -b -n 1 | head -15");
    throw new Error(`${id} said:\n${await said()}\nThe machine runs:\n${processes}`, { cause });
  }
  await until(`${id}'s shell`, async () => {
    // A number that its console, which keeps all that was ever said, has not shown yet.
    const asked = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    const said = await machine.run(
      `echo 'echo $((${asked} + 1))' | timeout 20 hive console ${id} | tail -c 2000`,
      90_000,
    );
    return said.includes(String(asked + 1)) ? true : undefined;
  }, 300_000);
  // So that its next start is not taken for ready by what this one said.
  await machine.run(`truncate --size 0 ${log}`);
}

const noLimits = { sanitizeOps: false, sanitizeResources: false };

Deno.test({ name: "an appliance's life on x86-64", ...noLimits }, async (t) => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-life-" });
  const log = (text: string) => console.log(`  ${text}`);
  try {
    const product = await version(work, { version: first });
    const sizes = async (path: string) => ((await Deno.stat(path)).size / 1e6).toFixed(1);
    for (const name of product.updateFiles) {
      log(`${await sizes(join(product.directory, name))} MB ${name}`);
    }
    await using machine = await Machine.create({
      image: product.raw,
      disk_gib: 12,
      memory_mib: 2048,
      forward: [ports.gateway, ports.s3],
      credentials: seedCredential,
    });
    const files = join(work, "files");
    await Deno.mkdir(files);
    await Deno.link(await tinyGuestImage(), join(files, "tiny.raw")).catch(async () => {
      await Deno.copyFile(await tinyGuestImage(), join(files, "tiny.raw"));
    });
    let client: Client;
    let instance = "";
    let key = "";
    let id = "";
    let failed = false;
    const step = async (name: string, work: () => Promise<void>) => {
      if (failed) return;
      failed = !await t.step(name, work);
      if (failed) {
        await machine.keepConsole("/tmp/mulga-life-console.log");
        console.log("the console's text is in /tmp/mulga-life-console.log");
      }
    };
    /** What must outlive everything but the reset. */
    const keptData = async () => {
      const { KeyPairs } = await client.aws<{ KeyPairs: { KeyFingerprint: string }[] }>(
        ...["ec2", "describe-key-pairs", "--key-names", "mine"],
      );
      assert.equal(KeyPairs[0]?.KeyFingerprint, key);
      await client.aws("s3api", "get-object", "--bucket", "kept", "--key", "tiny", `${work}/back`);
      assert.deepEqual(await Deno.readFile(`${work}/back`), await Deno.readFile(`${work}/object`));
      await instanceOf(client, instance);
      const { Volumes } = await client.aws<{ Volumes: { Size: number }[] }>(
        ...["ec2", "describe-volumes", "--filters", "Name=tag:Name,Values=kept"],
      );
      assert.equal(Volumes[0]?.Size, 1);
      assert.equal((await machine.run("cat /etc/machine-id")).trim(), id);
      assert.equal(await machine.run("cat /etc/kept"), "by the operator\n");
    };

    await step("the API answers from outside after the first boot", async () => {
      await machine.start();
      log(`healthy ${(await healthy(machine)).toFixed(0)} s after power-on`);
      client = await administrator(machine);
      await answers(client, 120_000);
      assert.equal(await runningVersion(machine), first);
      assert.equal((await machine.run("systemctl --failed --plain --no-legend")).trim(), "");
      // The screen is mulga-screen's.
      assert.equal(await machine.run("pgrep -a agetty || true"), "");
      id = (await machine.run("cat /etc/machine-id")).trim();
      log(await machine.run("systemd-analyze"));
      log(await machine.run("systemd-analyze --no-pager blame | grep -v '\\.device' | head -20"));
      log(await machine.run("systemd-analyze --no-pager critical-chain mulga-health.service"));
      // Once what starting took has been given back.
      await machine.run("sleep 60");
      const memory = Number(await machine.run("free --mebi | awk '/^Mem:/ { print $3 }'"));
      log(`${memory} MiB of memory used at idle`);
      assert.ok(memory < 600, `${memory} MiB`);
      log(
        `disk:\n${await machine.run("lsblk --noheadings --output NAME,SIZE,PARTLABEL /dev/vda")}`,
      );
    });

    await step("an instance runs inside, with a volume, an object and a key", async () => {
      await using server = serveFolder(files);
      await machine.run(`curl -sf -o /var/tmp/tiny.raw ${server.url}/tiny.raw`, 300_000);
      await machine.run(
        "hive image import /var/tmp/tiny.raw --name tiny --format raw > /dev/null && rm /var/tmp/tiny.raw",
        600_000,
      );
      const { Images } = await client.aws<{ Images: { ImageId: string }[] }>(
        ...["ec2", "describe-images", "--filters", "Name=name,Values=tiny"],
      );
      const { KeyFingerprint } = await client.aws<{ KeyFingerprint: string }>(
        ...["ec2", "create-key-pair", "--key-name", "mine", "--key-type", "ed25519"],
      );
      key = KeyFingerprint;
      await Deno.writeFile(`${work}/object`, crypto.getRandomValues(new Uint8Array(50_000)));
      await client.aws("s3api", "create-bucket", "--bucket", "kept");
      await client.aws(
        ...["s3api", "put-object", "--bucket", "kept", "--key", "tiny", "--body", `${work}/object`],
      );
      await client.aws(
        ...["ec2", "create-volume", "--size", "1", "--availability-zone"],
        (await client.aws<{ AvailabilityZones: { ZoneName: string }[] }>(
          "ec2",
          "describe-availability-zones",
        )).AvailabilityZones[0]?.ZoneName ?? "",
        ...["--tag-specifications", "ResourceType=volume,Tags=[{Key=Name,Value=kept}]"],
      );
      await machine.run("echo by the operator > /etc/kept");
      // One processor: a hypervisor that is emulated itself takes minutes to emulate two in step.
      const { Instances } = await client.aws<{ Instances: Instance[] }>(
        ...["ec2", "run-instances", "--image-id", Images[0]?.ImageId ?? ""],
        ...["--instance-type", "t2.nano", "--key-name", "mine"],
      );
      instance = Instances[0]?.InstanceId ?? "";
      const from = performance.now();
      await instanceIsUp(machine, client, instance);
      log(
        `the instance was up ${((performance.now() - from) / 1000).toFixed(0)} s after its launch`,
      );
      await keptData();
    });

    await step("a reboot keeps it all", async () => {
      await machine.reboot();
      log(`healthy ${(await healthy(machine)).toFixed(0)} s after the reboot`);
      client = await administrator(machine);
      await answers(client, 120_000);
      await keptData();
      await instanceIsUp(machine, client, instance);
    });

    await step("an update goes into the other slot, and its gate blesses it", async () => {
      const directory = await release(join(work, "second"), [
        await version(work, { version: second }),
      ]);
      await using server = serveFolder(directory);
      const from = performance.now();
      log(await machine.run(`hive update --from ${server.url}`, 900_000));
      log(`installed in ${((performance.now() - from) / 1000).toFixed(0)} s`);
      await machine.reboot();
      log(`healthy ${(await healthy(machine)).toFixed(0)} s after the reboot`);
      assert.equal(await runningVersion(machine), second);
      await machine.run(`until test -e /boot/EFI/Linux/mulgaos_${second}.efi; do sleep 1; done`);
      client = await administrator(machine);
      await answers(client, 120_000);
      await keptData();
    });

    await step("an unhealthy version is tried three times, then the old one is back", async () => {
      const directory = await release(join(work, "third"), [
        await version(work, { version: third, extraTrees: [await unhealthyTree(work)] }),
      ]);
      await using server = serveFolder(directory);
      await machine.run(`hive update --from ${server.url}`, 900_000);
      await machine.reboot();
      const tried = `MulgaOS ${third} did not pass its health check.`;
      for (const times of [1, 2, 3]) await machine.says(tried, 1_200_000, times);
      await machine.says(/Linux version/, 300_000, 4);
      log(`back ${(await healthy(machine)).toFixed(0)} s after the reboot into ${third}`);
      assert.equal(await runningVersion(machine), second);
      client = await administrator(machine);
      await answers(client, 120_000);
      await keptData();
      await instanceIsUp(machine, client, instance);
    });

    await step("a factory reset leaves a new machine", async () => {
      await machine.newConsole();
      await (await machine.shell()).send("hive reset --factory --yes");
      await machine.says(/Linux version/, 300_000);
      machine.forgetShell();
      await healthy(machine);
      assert.notEqual((await machine.run("cat /etc/machine-id")).trim(), id);
      await machine.run("! test -e /etc/kept");
      client = await administrator(machine);
      await answers(client, 120_000);
      const { KeyPairs } = await client.aws<{ KeyPairs: unknown[] }>("ec2", "describe-key-pairs");
      assert.deepEqual(KeyPairs, []);
      assert.equal(await runningVersion(machine), second);
      // The reset was asked for once.
      id = (await machine.run("cat /etc/machine-id")).trim();
      await machine.reboot();
      await healthy(machine);
      assert.equal((await machine.run("cat /etc/machine-id")).trim(), id);
    });
    assert.ok(!failed);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
});
