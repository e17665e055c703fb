/**
 * kill -9 of any one service, and then of everything, under a guest that writes: the guest, what it
 * was told is on disk, and the API's truth are still there.
 */
import assert from "node:assert/strict";
import { services } from "../../services/manifest.ts";
import {
  awaitLogin,
  createKey,
  describeInstance,
  importTinyGuest,
  launch,
  type Login,
  ssh,
} from "../kit/instances.ts";
import { smallest } from "../compute/launches.ts";
import { type Stack, startStack } from "../kit/stack.ts";
import { untilWorks } from "../kit/until.ts";

interface Status {
  readonly services: readonly { readonly name: string; readonly state: string }[];
}

async function awaitHealthy(stack: Stack): Promise<void> {
  await untilWorks("every service to be well", async () => {
    const ran = await stack.hiveRaw(["status", "--json"]);
    const status: Status = JSON.parse(ran.stdout);
    return status.services.length === services.length &&
      status.services.every((service) => service.state === "ok");
  });
}

/** Registers the tiny guest, runs one with a volume attached, formatted and mounted at /mnt. */
async function guestWithVolume(
  stack: Stack,
): Promise<{ id: string; volume: string; login: Login }> {
  const image = await importTinyGuest(stack);
  const login = { key: await createKey(stack, "faults"), user: "root" };
  const id = await launch(
    stack,
    "--image-id",
    image,
    "--instance-type",
    smallest,
    "--key-name",
    "faults",
    "--block-device-mappings",
    "DeviceName=/dev/sdf,Ebs={VolumeSize=1,DeleteOnTermination=true}",
  );
  const volume = (await describeInstance(stack, id)).BlockDeviceMappings
    .find((mapping) => mapping.DeviceName === "/dev/sdf")?.Ebs.VolumeId;
  assert.ok(volume);
  await awaitLogin(stack, id, login);
  await ssh(
    stack,
    id,
    login,
    "mkfs.ext4 -q /dev/vdb && mkdir -p /mnt && mount /dev/vdb /mnt",
  );
  return { id, volume, login };
}

Deno.test("kill -9 of any one service loses neither guest nor data nor the API's truth", async (t) => {
  await using stack = await startStack();
  const { id, volume, login } = await guestWithVolume(stack);
  const bootId = await ssh(stack, id, login, "cat /proc/sys/kernel/random/boot_id");
  // Writes a numbered line, waits until it is on disk, and only then counts it as written.
  await ssh(
    stack,
    id,
    login,
    `sh -c 'n=0; while [ ! -e /tmp/stop ]; do n=$((n+1)); echo "line $n" >> /mnt/log && sync /mnt/log && echo $n > /tmp/written || { echo failed at $n > /tmp/failed; break; }; sleep 0.05; done; touch /tmp/stopped' </dev/null >/dev/null 2>&1 &`,
  );
  const written = async () => Number(await ssh(stack, id, login, "cat /tmp/written"));
  await untilWorks("the guest to write", async () => await written() > 0);

  for (const { name } of services) {
    await t.step(`kill -9 of ${name}`, async () => {
      const killed = await stack.pids(name);
      await stack.kill(name);
      await untilWorks(`another ${name}`, async () => {
        const now = await stack.pids(name);
        return now.length > 0 && !now.some((pid) => killed.includes(pid));
      });
      await awaitHealthy(stack);
      const before = await written();
      await untilWorks(
        "the guest to go on writing",
        async () => await written() > before + 5,
      );
      assert.equal(
        await ssh(stack, id, login, "cat /proc/sys/kernel/random/boot_id"),
        bootId,
        "the guest was not restarted",
      );
      const instance = await describeInstance(stack, id);
      assert.equal(instance.State.Name, "running");
      assert.ok(instance.BlockDeviceMappings.some((mapping) => mapping.Ebs.VolumeId === volume));
      await stack.aws("sts", "get-caller-identity");
    });
  }

  await t.step("every line that the guest was told is on disk is there", async () => {
    await ssh(stack, id, login, "touch /tmp/stop");
    await untilWorks("the writer to stop", async () => {
      await ssh(stack, id, login, "test -e /tmp/stopped");
      return true;
    });
    await assert.rejects(ssh(stack, id, login, "test -e /tmp/failed"), "no write failed");
    const last = await written();
    await ssh(
      stack,
      id,
      login,
      "umount /mnt && e2fsck -fn /dev/vdb && mount /dev/vdb /mnt",
    );
    const lines = (await ssh(stack, id, login, "cat /mnt/log")).trim().split("\n");
    assert.ok(lines.length >= last);
    lines.forEach((line, index) => assert.equal(line, `line ${index + 1}`));
  });

  await t.step("the instance stops, starts and terminates as if nothing had been", async () => {
    await stack.aws("ec2", "stop-instances", "--instance-ids", id);
    await stack.aws("ec2", "wait", "instance-stopped", "--instance-ids", id);
    await stack.aws("ec2", "start-instances", "--instance-ids", id);
    await stack.aws("ec2", "wait", "instance-running", "--instance-ids", id);
    await awaitLogin(stack, id, login);
    await ssh(stack, id, login, "mkdir -p /mnt && mount /dev/vdb /mnt && tail -n 1 /mnt/log");
    await stack.aws("ec2", "terminate-instances", "--instance-ids", id);
    await stack.aws("ec2", "wait", "instance-terminated", "--instance-ids", id);
    const { Volumes } = await stack.aws<{ Volumes: unknown[] }>("ec2", "describe-volumes");
    assert.deepEqual(Volumes, []);
  });
});

Deno.test("a power cut after a guest's fsync: up again, the guest starts and the data is there", async (t) => {
  await using stack = await startStack();
  const { id, login } = await guestWithVolume(stack);
  await stack.aws("s3", "mb", "s3://kept");
  const object = `${stack.dataDir}/object`;
  await Deno.writeFile(object, crypto.getRandomValues(new Uint8Array(65_536)));
  await stack.awsRaw("s3", "cp", object, "s3://kept/object");
  const sums: string[] = [];
  for (let round = 0; round < 2; round++) {
    await t.step(`power cut ${round + 1}`, async () => {
      const sum = await ssh(
        stack,
        id,
        login,
        `dd if=/dev/urandom of=/mnt/data${round} bs=64k count=128 2>/dev/null && sync && sha256sum /mnt/data${round}`,
      );
      sums.push(sum);
      // What is being written at the cut may be lost or not; it must do no harm to what was synced.
      await ssh(
        stack,
        id,
        login,
        "dd if=/dev/urandom of=/mnt/noise bs=4k count=100000 </dev/null >/dev/null 2>&1 &",
      );
      await stack.powerCut();
      const up = await stack.up("--no-image");
      assert.equal(up.code, 0, up.stderr + up.stdout);
      await stack.aws("ec2", "wait", "instance-running", "--instance-ids", id);
      await awaitLogin(stack, id, login);
      await ssh(stack, id, login, "mkdir -p /mnt && mount /dev/vdb /mnt");
      for (const [index, expected] of sums.entries()) {
        assert.equal(await ssh(stack, id, login, `sha256sum /mnt/data${index}`), expected);
      }
      await stack.aws("s3", "cp", "s3://kept/object", `${object}.back`, "--only-show-errors");
      assert.deepEqual(await Deno.readFile(`${object}.back`), await Deno.readFile(object));
    });
  }
});
