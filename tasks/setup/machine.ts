/**
 * What the machine itself offers: processor, KVM, io_uring, memory, disk. Only looks; what it finds
 * is a row of the table that setup and `hive doctor` print.
 */
import { lookup } from "node:dns/promises";
import { dirname, join } from "node:path";
import { kvmSelfTest, type KvmVerdict } from "../../ffi/kvm.ts";
import { bytes } from "../terminal/table.ts";
import { cachedPrograms } from "./nats_server.ts";

export interface Finding {
  readonly what: string;
  /** `warn` runs with less; `bad` does not run. */
  readonly state: "ok" | "warn" | "bad";
  readonly detail: string;
  /** What to do about it. */
  readonly advice?: string;
}

const leastMemory_bytes = 1.5 * 2 ** 30;
const leastDisk_bytes = 10 * 2 ** 30;

/** The KVM verdict of this boot: the self-test is not repeated while nothing can have changed. */
async function kvmVerdict(fresh = false): Promise<KvmVerdict> {
  const cache = join(dirname(cachedPrograms()), "kvm.json");
  const boot = (await Deno.readTextFile("/proc/sys/kernel/random/boot_id").catch(() => "")).trim();
  const device = await Deno.stat("/dev/kvm").then(
    (stat) => `${stat.mode}:${stat.uid}:${stat.gid}`,
    () => "none",
  );
  const key = `${boot} ${device} ${Deno.uid()}`;
  if (!fresh) {
    try {
      const kept = JSON.parse(await Deno.readTextFile(cache));
      if (kept.key === key && typeof kept.verdict.usable === "boolean") return kept.verdict;
    } catch {
      // None kept, or not readable: tested anew.
    }
  }
  const verdict = await kvmSelfTest();
  try {
    await Deno.mkdir(dirname(cache), { recursive: true });
    await Deno.writeTextFile(cache, JSON.stringify({ key, verdict }));
  } catch {
    // Only a cache.
  }
  return verdict;
}

async function kvmFinding(fresh: boolean): Promise<Finding> {
  const verdict = await kvmVerdict(fresh);
  if (verdict.usable) {
    return {
      what: "KVM",
      state: "ok",
      detail: `${verdict.reason}; up to ${verdict.maximum_vcpus} vCPUs per guest`,
    };
  }
  return {
    what: "KVM",
    state: "warn",
    detail: `not usable: ${verdict.reason}. Guests run under TCG emulation, 10 to 50 times slower`,
    advice:
      "use a machine with hardware virtualisation switched on (in a VM: nested) for real work",
  };
}

/** `io_uring_setup`, tried: containers and hardened kernels refuse it. */
function ioUringFinding(): Finding {
  const syscallNumber = 425;
  const libc = Deno.dlopen(
    "libc.so.6",
    {
      syscall: { parameters: ["i64", "u32", "buffer"], result: "i64" },
      close: { parameters: ["i32"], result: "i32" },
    } as const,
  );
  try {
    // `struct io_uring_params`, all zero: the plainest ring there is.
    const fd = libc.symbols.syscall(BigInt(syscallNumber), 4, new Uint8Array(120));
    if (fd >= 0) {
      libc.symbols.close(Number(fd));
      return { what: "io_uring", state: "ok", detail: "a ring was made" };
    }
  } finally {
    libc.close();
  }
  let disabled = "";
  try {
    disabled = Deno.readTextFileSync("/proc/sys/kernel/io_uring_disabled").trim();
  } catch {
    // Older kernels have no such switch.
  }
  return disabled !== "" && disabled !== "0"
    ? {
      what: "io_uring",
      state: "bad",
      detail: `switched off on this machine (kernel.io_uring_disabled = ${disabled})`,
      advice: "sysctl kernel.io_uring_disabled=0",
    }
    : {
      what: "io_uring",
      state: "bad",
      detail: "the kernel refuses it (a container's seccomp filter, or a kernel before 5.1)",
      advice: "allow io_uring in the container's profile, or run outside of it",
    };
}

function memoryFinding(): Finding {
  const { total, available } = Deno.systemMemoryInfo();
  const detail = `${bytes(total)}, ${bytes(available)} available`;
  return total < leastMemory_bytes
    ? { what: "Memory", state: "warn", detail, advice: "2 GiB or more leave room for a guest" }
    : { what: "Memory", state: "ok", detail };
}

/** Free bytes where `path`, or its nearest parent that exists, lies. */
function freeBytes(path: string): number | undefined {
  const { stdout, success } = new Deno.Command("df", {
    args: ["--output=avail", "-B1", nearest(path)],
    stdout: "piped",
    stderr: "null",
  }).outputSync();
  const free = Number(new TextDecoder().decode(stdout).trim().split("\n").at(-1));
  return success && Number.isFinite(free) ? free : undefined;
}

function nearest(path: string): string {
  for (let at = path;; at = dirname(at)) {
    try {
      Deno.statSync(at);
      return at;
    } catch {
      if (at === dirname(at)) return at;
    }
  }
}

function diskFinding(dataDir: string): Finding {
  const free = freeBytes(dataDir);
  if (free === undefined) {
    return { what: "Disk", state: "warn", detail: `free space below ${dataDir} is not known` };
  }
  const detail = `${bytes(free)} free for ${dataDir}`;
  return free < leastDisk_bytes
    ? {
      what: "Disk",
      state: "warn",
      detail,
      advice: "an image and a few guests want 10 GiB; choose another place with --data-dir",
    }
    : { what: "Disk", state: "ok", detail };
}

/** AWS clients are pointed at `localhost`: bare root file systems have no /etc/hosts to know it by. */
async function nameFinding(): Promise<Finding> {
  try {
    const { address } = await lookup("localhost");
    return { what: "Names", state: "ok", detail: `localhost is ${address}` };
  } catch {
    return {
      what: "Names",
      state: "warn",
      detail: "this machine does not know the name localhost, which AWS clients will use",
      advice: 'add the line "127.0.0.1 localhost" to /etc/hosts',
    };
  }
}

/** Everything about the machine, in the order in which it is shown. */
export async function machineFindings(
  dataDir: string,
  options: { readonly fresh?: boolean } = {},
): Promise<Finding[]> {
  return [
    {
      what: "Processor",
      state: "ok",
      detail: `${navigator.hardwareConcurrency} cores, ${Deno.build.arch}`,
    },
    await kvmFinding(options.fresh ?? false),
    ioUringFinding(),
    memoryFinding(),
    diskFinding(dataDir),
    await nameFinding(),
  ];
}
