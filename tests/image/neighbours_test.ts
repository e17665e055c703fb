/** Three machines that nobody has set up, on one network, hear each other: the ground for a cluster. */
import assert from "node:assert/strict";
import { Machine } from "./machine.ts";
import { first, version } from "./versions.ts";

const numbers = [1, 2, 3] as const;
const address = (number: number) => `10.77.0.${number}`;

Deno.test("three machines on one network hear each other's announcements", async () => {
  const work = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "mulga-neighbours-" });
  const machines: Machine[] = [];
  try {
    const { raw: image } = await version(work, { version: first });
    // A group of its own, so that other runs on this machine are not heard.
    const multicast = `230.9.${1 + Math.floor(Math.random() * 250)}.1:12340`;
    for (const number of numbers) {
      machines.push(
        await Machine.create({
          image,
          disk_gib: 9,
          memory_mib: 1024,
          cpus: 1,
          seed: null,
          multicast,
          mac: `52:54:00:00:00:0${number}`,
          // The common network has no DHCP server; its cards have the addresses that this says.
          credentials: {
            "network.network.10-common": [
              "[Match]",
              `MACAddress=52:54:01:00:00:0${number}`,
              "[Network]",
              `Address=${address(number)}/24`,
              "LinkLocalAddressing=no",
              "",
            ].join("\n"),
          },
        }),
      );
    }
    await Promise.all(machines.map((machine) => machine.start()));
    await Promise.all(machines.map(async (machine, at) => {
      for (const other of numbers.filter((number) => number !== at + 1)) {
        await machine.run(
          `until journalctl --unit mulga-cluster --output cat | grep peer_heard | ` +
            `grep -F '${address(other)}:'; do sleep 1; done`,
          900_000,
        );
      }
      console.log(`  ${at + 1}: both heard ${machine.uptime_s().toFixed(0)} s after power-on`);
    }));
    const heard = await machines[0]?.run(
      "journalctl --unit mulga-cluster --output cat | grep peer_heard",
    );
    assert.ok(!heard?.includes(`${address(1)}:`), "a machine is not its own neighbour");
  } finally {
    for (const machine of machines) await machine[Symbol.asyncDispose]();
    await Deno.remove(work, { recursive: true });
  }
});
