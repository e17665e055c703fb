/** What the machine below this node is: processor, memory, and whether KVM runs guests on it. */
import type { NodeConfig } from "../../config/node_config.ts";
import type { Log } from "../../log/log.ts";
import { kvmSelfTest } from "../../../ffi/kvm.ts";
import type { Need } from "../instances/capacity.ts";

export const hostArchitecture = Deno.build.arch === "aarch64" ? "arm64" : "x86_64";

/** The whole machine, nothing taken off. */
export function machineSize(): Need {
  return {
    vcpus: navigator.hardwareConcurrency,
    memory_mib: Math.floor(Deno.systemMemoryInfo().total / 2 ** 20),
  };
}

/** Takes KVM only where it has just run a guest; everything else is emulation, and said loudly. */
export async function chooseAccelerator(
  wanted: NodeConfig["compute"]["accelerator"],
  log: Log,
): Promise<"kvm" | "tcg"> {
  if (wanted === "tcg") {
    log.warn("guests_are_emulated", { reason: "The node's configuration says so." });
    return "tcg";
  }
  const verdict = await kvmSelfTest();
  if (verdict.usable) return "kvm";
  log.warn("guests_are_emulated", {
    reason: verdict.reason,
    effect: "Guests run under TCG, ten to fifty times slower than on hardware.",
    ...(wanted === "kvm" ? { configured: "kvm" } : {}),
  });
  return "tcg";
}
