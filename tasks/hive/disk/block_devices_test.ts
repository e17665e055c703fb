import assert from "node:assert/strict";
import { usbFileSystems } from "../update/usb.ts";
import { diskOf, listBlockDevices, parseLsblk } from "./block_devices.ts";

const sample = JSON.stringify({
  blockdevices: [
    {
      path: "/dev/sda",
      type: "disk",
      size: 15_500_000_000,
      tran: "usb",
      rm: true,
      ro: false,
      model: "Stick  ",
      mountpoints: [null],
      children: [{
        path: "/dev/sda1",
        type: "part",
        size: 1,
        fstype: "vfat",
        mountpoints: ["/boot"],
      }],
    },
    { path: "/dev/mmcblk0", type: "disk", size: 1, tran: null, rm: "0", mountpoints: [] },
    { path: "/dev/nvme0n1", type: "disk", size: 1, tran: "nvme", fstype: "ext4" },
  ],
});

Deno.test("disks are read from lsblk, and sticks are those on USB that have a file system", () => {
  const devices = parseLsblk(sample);
  assert.equal(devices[0]?.model, "Stick");
  assert.equal(devices[1]?.transport, "mmc");
  assert.deepEqual(devices[0]?.children[0]?.mounts, ["/boot"]);
  assert.deepEqual(usbFileSystems(devices).map((one) => one.path), ["/dev/sda1"]);
  assert.throws(() => parseLsblk("nonsense"), /lsblk/);
});

Deno.test("this machine's disks can be listed, and its root is on one of them or on none", async () => {
  const devices = await listBlockDevices();
  const disk = await diskOf("/");
  if (disk !== undefined) assert.ok(devices.some((one) => one.path === disk), disk);
  assert.equal(await diskOf("/proc"), undefined);
});
