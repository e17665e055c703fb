/**
 * Whether /dev/kvm can run guests, found by running one.
 *
 * A kernel with the paravirtual `kvm_pvm` module offers a /dev/kvm that answers every question as a
 * real one does and emulates each instruction of an ordinary guest: only time tells. So the self-test
 * asks for the processor flag (x86; on arm64 the kernel offers KVM only where EL2 is there) and lets
 * a vCPU count to a million in real mode: well under 1 ms on hardware, 520 to 580 ms where it is
 * emulated. The bound of 50 ms is far from both worlds.
 *
 * It never throws and never hangs: every failure is a verdict with a reason, and the vCPU runs on
 * another thread which is given up (told to leave at once) after `patience_ms`.
 *
 * Struct offsets and ioctl numbers are the kernel's stable ABI (API version 12, which is checked).
 */

export interface KvmVerdict {
  readonly usable: boolean;
  /** One sentence for the operator: why it is not usable, or what was shown. */
  readonly reason: string;
  readonly api_version?: number;
  /** Recommended and hard limit of vCPUs per guest; neither is the node's capacity. */
  readonly recommended_vcpus?: number;
  readonly maximum_vcpus?: number;
  /** How long the vCPU took for its million iterations. */
  readonly loop_ms?: number;
}

export interface KvmSelfTestOptions {
  /** For tests of the timed loop where the flag alone would decide. */
  readonly ignoreProcessorFlag?: boolean;
  readonly patience_ms?: number;
  readonly device?: string;
}

/** No guest program of a million iterations takes as long on hardware. */
const loopBound_ms = 50;

const symbols = {
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "u64"], result: "i32" },
  ioctlPointer: { name: "ioctl", parameters: ["i32", "u64", "buffer"], result: "i32" },
  ioctlElsewhere: {
    name: "ioctl",
    parameters: ["i32", "u64", "u64"],
    result: "i32",
    nonblocking: true,
  },
  mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  munmap: { parameters: ["pointer", "usize"], result: "i32" },
  errno: { name: "__errno_location", parameters: [], result: "pointer" },
} as const;

const KVM_GET_API_VERSION = 0xae00n;
const KVM_CREATE_VM = 0xae01n;
const KVM_CHECK_EXTENSION = 0xae03n;
const KVM_GET_VCPU_MMAP_SIZE = 0xae04n;
const KVM_CREATE_VCPU = 0xae41n;
const KVM_SET_USER_MEMORY_REGION = 0x4020ae46n;
const KVM_RUN = 0xae80n;
const KVM_SET_REGS = 0x4090ae82n;
const KVM_GET_SREGS = 0x8138ae83n;
const KVM_SET_SREGS = 0x4138ae84n;

const capNrVcpus = 9n;
const capMaxVcpus = 66n;

/** `struct kvm_run`. */
const run = { immediate_exit: 1, exit_reason: 8 } as const;
const exitIo = 2;
/** `struct kvm_regs`. */
const regs = { rip: 128, rflags: 136, size: 144 } as const;
/** `struct kvm_sregs`: the code segment comes first, its selector after a 64-bit base and limit. */
const sregs = { cs_base: 0, cs_selector: 12, size: 312 } as const;

const entry = 0x1000;
const guestMemory_bytes = 0x2000;
/** Real mode: `mov ecx, 1000000; again: dec ecx; jnz again; out 0x10, al; hlt`. */
const program = [0x66, 0xb9, 0x40, 0x42, 0x0f, 0, 0x66, 0x49, 0x75, 0xfc, 0xe6, 0x10, 0xf4];

const O_RDWR_CLOEXEC = 0o2000002;
const PROT_READ_WRITE = 3;
const MAP_SHARED = 1;
const MAP_SHARED_ANONYMOUS = 0x21;
const ENOENT = 2;
const EACCES = 13;
const EBUSY = 16;

/** Ends the test with a verdict; never leaves this file. */
class NotUsable extends Error {
  override readonly name = "NotUsable";
}

function processorHasFlag(): boolean {
  try {
    return /^flags\s*:.*\b(vmx|svm)\b/m.test(Deno.readTextFileSync("/proc/cpuinfo"));
  } catch {
    return false;
  }
}

/** Tells whether KVM runs guests on this machine; at most about `patience_ms`, 3 s unless given. */
export async function kvmSelfTest(options: KvmSelfTestOptions = {}): Promise<KvmVerdict> {
  const { device = "/dev/kvm", patience_ms = 3_000 } = options;
  const x86 = Deno.build.arch === "x86_64";
  const facts: { -readonly [K in keyof KvmVerdict]?: KvmVerdict[K] } = {};
  // What must be given back, last taken first; emptied when a vCPU could not be called back.
  const release: (() => void)[] = [];
  try {
    if (x86 && options.ignoreProcessorFlag !== true && !processorHasFlag()) {
      throw new NotUsable(
        "the processor offers no hardware virtualisation (neither vmx nor svm in /proc/cpuinfo)",
      );
    }
    const libc = Deno.dlopen("libc.so.6", symbols);
    release.push(() => libc.close());
    const kvm = openDevice(libc.symbols, device);
    release.push(() => libc.symbols.close(kvm));

    const must = (result: number, what: string): number => {
      if (result < 0) {
        throw new NotUsable(`${device} refuses ${what} (error ${errno(libc.symbols)})`);
      }
      return result;
    };
    const { ioctl } = libc.symbols;
    facts.api_version = must(ioctl(kvm, KVM_GET_API_VERSION, 0n), "KVM_GET_API_VERSION");
    if (facts.api_version !== 12) {
      throw new NotUsable(`${device} speaks API version ${facts.api_version}, not 12`);
    }
    facts.recommended_vcpus = must(ioctl(kvm, KVM_CHECK_EXTENSION, capNrVcpus), "CHECK_EXTENSION");
    facts.maximum_vcpus = must(ioctl(kvm, KVM_CHECK_EXTENSION, capMaxVcpus), "CHECK_EXTENSION");
    const vm = must(ioctl(kvm, KVM_CREATE_VM, 0n), "to create a virtual machine");
    release.push(() => libc.symbols.close(vm));
    const vcpu = must(ioctl(vm, KVM_CREATE_VCPU, 0n), "to create a vCPU");
    release.push(() => libc.symbols.close(vcpu));
    if (!x86) {
      return { ...facts, usable: true, reason: "a virtual machine and a vCPU were created" };
    }

    const map = (size: number, flags: number, fd: number): Deno.PointerObject => {
      const address = libc.symbols.mmap(null, BigInt(size), PROT_READ_WRITE, flags, fd, 0n);
      if (address === null || BigInt(Deno.UnsafePointer.value(address)) === 0xffffffffffffffffn) {
        throw new NotUsable(`no memory could be mapped (error ${errno(libc.symbols)})`);
      }
      release.push(() => libc.symbols.munmap(address, BigInt(size)));
      return address;
    };
    const runSize = must(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0n), "KVM_GET_VCPU_MMAP_SIZE");
    const runArea = Deno.UnsafePointerView.getArrayBuffer(map(runSize, MAP_SHARED, vcpu), runSize);
    const runState = new DataView(runArea);
    const memory = map(guestMemory_bytes, MAP_SHARED_ANONYMOUS, -1);
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(memory, guestMemory_bytes))
      .set(program, entry);

    const { ioctlPointer } = libc.symbols;
    const region = new DataView(new ArrayBuffer(32));
    region.setBigUint64(16, BigInt(guestMemory_bytes), true);
    region.setBigUint64(24, BigInt(Deno.UnsafePointer.value(memory)), true);
    must(ioctlPointer(vm, KVM_SET_USER_MEMORY_REGION, region.buffer), "guest memory");
    const segments = new DataView(new ArrayBuffer(sregs.size));
    must(ioctlPointer(vcpu, KVM_GET_SREGS, segments.buffer), "KVM_GET_SREGS");
    segments.setBigUint64(sregs.cs_base, 0n, true);
    segments.setUint16(sregs.cs_selector, 0, true);
    must(ioctlPointer(vcpu, KVM_SET_SREGS, segments.buffer), "KVM_SET_SREGS");
    const registers = new DataView(new ArrayBuffer(regs.size));
    registers.setBigUint64(regs.rip, BigInt(entry), true);
    registers.setBigUint64(regs.rflags, 2n, true);
    must(ioctlPointer(vcpu, KVM_SET_REGS, registers.buffer), "KVM_SET_REGS");

    const started = performance.now();
    const patience = Promise.withResolvers<"late">();
    const timer = setTimeout(() => patience.resolve("late"), patience_ms);
    const result = await Promise.race([
      libc.symbols.ioctlElsewhere(vcpu, KVM_RUN, 0n),
      patience.promise,
    ]);
    clearTimeout(timer);
    if (result === "late") {
      // The thread still uses all of it. The kernel leaves the run when it next looks at the flag.
      runState.setUint8(run.immediate_exit, 1);
      release.length = 0;
      throw new NotUsable(`a vCPU did not finish a small loop within ${patience_ms} ms`);
    }
    facts.loop_ms = Math.round((performance.now() - started) * 100) / 100;
    const exit = runState.getUint32(run.exit_reason, true);
    if (result !== 0 || exit !== exitIo) {
      throw new NotUsable(`a vCPU did not run its test program (left with reason ${exit})`);
    }
    if (facts.loop_ms > loopBound_ms) {
      throw new NotUsable(
        `${device} only emulates: a million iterations took ${Math.round(facts.loop_ms)} ms, ` +
          `hardware needs less than 1 ms`,
      );
    }
    return {
      ...facts,
      usable: true,
      reason: `a vCPU ran a million iterations in ${facts.loop_ms} ms`,
    };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return { ...facts, usable: false, reason };
  } finally {
    for (const give of release.reverse()) give();
  }
}

type Libc = Deno.DynamicLibrary<typeof symbols>["symbols"];

function errno(libc: Libc): number {
  const at = libc.errno();
  return at === null ? 0 : new Deno.UnsafePointerView(at).getInt32();
}

function openDevice(libc: Libc, device: string): number {
  const fd = libc.open(new TextEncoder().encode(`${device}\0`), O_RDWR_CLOEXEC);
  if (fd >= 0) return fd;
  switch (errno(libc)) {
    case ENOENT:
      throw new NotUsable(`there is no ${device} (no virtualisation, or its module is not loaded)`);
    case EACCES:
      throw new NotUsable(
        `this user may not open ${device}; add it to the group "kvm" and log in again`,
      );
    case EBUSY:
      throw new NotUsable(`${device} is in use by another hypervisor`);
    default:
      throw new NotUsable(`${device} cannot be opened (error ${errno(libc)})`);
  }
}
