/**
 * The product's main job with nothing but its users' tools: from `up` to a Debian instance that one
 * can SSH into, whose volume outlives a stop and moves to another instance.
 */
import assert from "node:assert/strict";
import { smallest } from "../compute/launches.ts";
import {
  awaitLogin,
  createKey,
  describeInstance,
  importTinyGuest,
  launch,
  type Login,
  ssh,
} from "../kit/instances.ts";
import { startStack } from "../kit/stack.ts";
import { untilWorks } from "../kit/until.ts";

const userData = `#!/bin/sh
echo "user data ran on $(hostname)" > /var/tmp/user-data-ran
`;

Deno.test("a Debian instance runs, is reached by SSH, and its volume moves to another", async (t) => {
  const started = performance.now();
  const at = () => `${Math.round((performance.now() - started) / 1000)} s`;
  await using stack = await startStack({ args: [] });
  console.log(`cloud and image ready after ${at()}`);
  const { Images } = await stack.aws<{ Images: { ImageId: string; Name: string }[] }>(
    "ec2",
    "describe-images",
    "--filters",
    "Name=name,Values=debian-13*",
  );
  const image = Images[0]?.ImageId;
  assert.ok(image, "up registered the Debian image");
  const key = await createKey(stack, "vertical");
  const login = { key, user: "debian" };
  const userDataFile = `${stack.dataDir}/user-data.sh`;
  await Deno.writeTextFile(userDataFile, userData);

  let first = "";
  await t.step("the key lets its owner in and user data has run", async () => {
    first = await launch(
      stack,
      "--image-id",
      image,
      "--instance-type",
      "t3.micro",
      "--key-name",
      "vertical",
      "--user-data",
      `file://${userDataFile}`,
      "--tag-specifications",
      "ResourceType=instance,Tags=[{Key=Name,Value=first}]",
    );
    console.log(`running after ${at()}`);
    await awaitLogin(stack, first, login);
    console.log(`logged in after ${at()}`);
    const ran = await untilWorks(
      "user data to have run",
      () => ssh(stack, first, login, "cat /var/tmp/user-data-ran"),
    );
    assert.match(ran, /user data ran on /);
    assert.equal((await ssh(stack, first, login, "sudo -n id -u")).trim(), "0");
    assert.equal(
      (await ssh(stack, first, login, "cat /sys/class/dmi/id/sys_vendor")).trim(),
      "Amazon EC2",
    );
    assert.equal(
      (await ssh(
        stack,
        first,
        login,
        `python3 -c "
import urllib.request as u
t=u.urlopen(u.Request('http://169.254.169.254/latest/api/token',method='PUT',headers={'X-aws-ec2-metadata-token-ttl-seconds':'60'})).read().decode()
print(u.urlopen(u.Request('http://169.254.169.254/latest/meta-data/instance-id',headers={'X-aws-ec2-metadata-token':t})).read().decode())"`,
      )).trim(),
      first,
      "IMDSv2 tells the guest who it is",
    );
  });

  let volume = "";
  const disk = () => `/dev/disk/by-id/virtio-${volume.replace("-", "")}`;
  await t.step("a volume attaches live, takes a file system and data", async () => {
    const { Placement } = (await stack.aws<
      { Reservations: { Instances: { Placement: { AvailabilityZone: string } }[] }[] }
    >("ec2", "describe-instances", "--instance-ids", first)).Reservations[0]!.Instances[0]!;
    volume = (await stack.aws<{ VolumeId: string }>(
      "ec2",
      "create-volume",
      "--size",
      "1",
      "--volume-type",
      "gp3",
      "--availability-zone",
      Placement.AvailabilityZone,
    )).VolumeId;
    await stack.aws("ec2", "wait", "volume-available", "--volume-ids", volume);
    await stack.aws(
      "ec2",
      "attach-volume",
      "--volume-id",
      volume,
      "--instance-id",
      first,
      "--device",
      "/dev/sdf",
    );
    await stack.aws("ec2", "wait", "volume-in-use", "--volume-ids", volume);
    await untilWorks("the guest to see the volume", async () => {
      await ssh(stack, first, login, `test -b ${disk()}`);
      return true;
    });
    await ssh(
      stack,
      first,
      login,
      `sudo mkfs.ext4 -q ${disk()} && sudo mount ${disk()} /mnt && ` +
        `sudo dd if=/dev/urandom of=/mnt/data bs=1M count=16 status=none && ` +
        `sha256sum /mnt/data | sudo tee /mnt/sum >/dev/null && sync && sudo umount /mnt`,
    );
    const described = await describeInstance(stack, first);
    const mapping = described.BlockDeviceMappings.find((one) => one.Ebs.VolumeId === volume);
    assert.equal(mapping?.DeviceName, "/dev/sdf");
    assert.equal(mapping?.Ebs.Status, "attached");
  });

  await t.step("its snapshot is of file systems that stand still, and it goes on", async () => {
    const root = (await describeInstance(stack, first)).BlockDeviceMappings
      .find((one) => one.Ebs.VolumeId !== volume)?.Ebs.VolumeId ?? "";
    const frozen = new RegExp(`"guest_frozen".*"${first}"`);
    // The agent is the last that a guest starts, and one under emulation may be slow to answer.
    await untilWorks("the guest's agent to hold it still", async () => {
      const { SnapshotId } = await stack.aws<{ SnapshotId: string }>(
        ...["ec2", "create-snapshot", "--volume-id", root],
      );
      await stack.aws("ec2", "wait", "snapshot-completed", "--snapshot-ids", SnapshotId);
      await stack.aws("ec2", "delete-snapshot", "--snapshot-id", SnapshotId);
      assert.match(await Deno.readTextFile(`${stack.dataDir}/logs/compute.log`), frozen);
      return true;
    });
    assert.equal(await ssh(stack, first, login, "sudo touch /root/thawed && echo yes"), "yes\n");
  });

  const verify = (instance: string, as: Login) => {
    const root = as.user === "root" ? "" : "sudo ";
    return ssh(
      stack,
      instance,
      as,
      `${root}mkdir -p /mnt && ${root}mount ${disk()} /mnt && ` +
        `${root}sha256sum -c /mnt/sum && ${root}umount /mnt`,
    );
  };

  await t.step(
    "stopped and started, the instance has its volumes, data and host keys",
    async () => {
      const hostKeys = "cat /etc/ssh/ssh_host_*_key.pub";
      const keys = await ssh(stack, first, login, hostKeys);
      await ssh(stack, first, login, "echo precious | sudo tee /root/file >/dev/null");
      await stack.aws("ec2", "stop-instances", "--instance-ids", first);
      await stack.aws("ec2", "wait", "instance-stopped", "--instance-ids", first);
      await stack.aws("ec2", "start-instances", "--instance-ids", first);
      await stack.aws("ec2", "wait", "instance-running", "--instance-ids", first);
      await awaitLogin(stack, first, login);
      console.log(`logged in again after ${at()}`);
      assert.match(await verify(first, login), /OK/);
      assert.equal(await ssh(stack, first, login, "sudo cat /root/file"), "precious\n");
      assert.equal(await ssh(stack, first, login, hostKeys), keys);
    },
  );

  await t.step("the console output tells of the boot", async () => {
    const { Output } = await stack.aws<{ Output: string }>(
      "ec2",
      "get-console-output",
      "--instance-id",
      first,
      "--latest",
    );
    assert.match(Output, /login:|Debian/);
  });

  await t.step("detached, the volume gives a second instance the same data", async () => {
    await stack.aws("ec2", "detach-volume", "--volume-id", volume);
    await stack.aws("ec2", "wait", "volume-available", "--volume-ids", volume);
    // Another Debian would boot for minutes under emulation, and no otherwise than the first.
    const tiny = await importTinyGuest(stack);
    const id = await launch(
      stack,
      ...["--image-id", tiny, "--instance-type", smallest, "--key-name", "vertical"],
    );
    await stack.aws(
      "ec2",
      "attach-volume",
      "--volume-id",
      volume,
      "--instance-id",
      id,
      "--device",
      "/dev/sdg",
    );
    const other = { key, user: "root" };
    await awaitLogin(stack, id, other);
    console.log(`second logged in after ${at()}`);
    await untilWorks("the second guest to see the volume", async () => {
      await ssh(stack, id, other, `test -b ${disk()}`);
      return true;
    });
    assert.match(await verify(id, other), /OK/);
    await stack.aws("ec2", "terminate-instances", "--instance-ids", first, id);
    await stack.aws("ec2", "wait", "instance-terminated", "--instance-ids", first, id);
    await stack.aws("ec2", "wait", "volume-available", "--volume-ids", volume);
    await stack.aws("ec2", "delete-volume", "--volume-id", volume);
    const { Volumes } = await stack.aws<{ Volumes: unknown[] }>("ec2", "describe-volumes");
    assert.deepEqual(Volumes, [], "root volumes went with their instances");
  });
  console.log(`done after ${at()}`);
});
