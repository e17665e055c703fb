/** The boot partition of a running machine, written by the same code as on the machine itself. */
import type { BootPartition } from "../../tasks/hive/uboot/boot_choice.ts";
import type { Machine } from "./machine.ts";

const root = "/boot";

export function guestPartition(machine: Machine): BootPartition {
  return {
    async list(folder) {
      const text = await machine.run(`ls -1 ${root}/${folder}`);
      return text.split("\n").filter((name) => name !== "");
    },
    async read(path) {
      const text = await machine.run(`base64 -w 0 ${root}/${path} 2>/dev/null || true`);
      return text.trim() === "" ? undefined : Uint8Array.fromBase64(text.trim());
    },
    async write(path, content) {
      await machine.run(`echo ${content.toBase64()} | base64 -d > ${root}/${path}; sync`);
    },
    async rename(from, to) {
      await machine.run(`mv ${root}/${from} ${root}/${to}; sync`);
    },
  };
}
