/**
 * io_uring through liburing's raw calls: one ring for one thread that blocks in `turn`.
 *
 * The ring belongs to the thread that made it. A completion is told by two 32-bit numbers given with
 * the request, its kind and its id, so that nothing on the hot path allocates. Memory given to a request
 * must come from `mapMemory` and stay until its completion was seen. Layouts are those of the
 * kernel's ABI (linux/io_uring.h); the offsets into the ring come from the kernel itself.
 *
 * Failure: a kernel without io_uring, or one that forbids it, is `RingUnavailable` with a sentence for
 * the operator; results of single requests are negative errnos in their completions.
 */
import { closeFile, errnoName, errnos, mapMemory, mapShared, type Memory, unmap } from "./libc.ts";

/** The kernel has no io_uring for us; the message says what to do. */
export class RingUnavailable extends Error {
  override readonly name = "RingUnavailable";
}

export const ringOperations = {
  sync: 3,
  poll: 6,
  sendMessage: 9,
  receiveMessage: 10,
  timeout: 11,
  accept: 13,
  cancel: 14,
  read: 22,
  write: 23,
  send: 26,
  receive: 27,
} as const;

/** Flag of `sync` that leaves out metadata which reading the data does not need. */
export const syncDataOnly = 1;

/**
 * So many requests are handed over at once at most: the disk begins with them while the next are being made.
 * Of 32 reads that a client sends together the last was begun 100 µs after the first could have been.
 */
const handedOver = 4;

const setupFlags = { cqSize: 1 << 3, coop: 1 << 8, singleIssuer: 1 << 12, deferTaskrun: 1 << 13 };
const enterGetEvents = 1;
const enterExtended = 1 << 3;
const featureSingleMap = 1;
/** Several completions can be waited for during a while, and then one: Linux 6.12. */
const featureLeastWait = 1 << 15;
/** So long more completions than one are waited for. */
const gather_us = 100;
const submissionWords = 16;
const completionWords = 4;

interface Library {
  setup(entries: number, parameters: Uint32Array<ArrayBuffer>): number;
  enter(fd: number, submit: number, wait: number, flags: number): number;
  /** The same, with `struct io_uring_getevents_arg`. */
  enterWith(
    fd: number,
    submit: number,
    wait: number,
    flags: number,
    argument: Deno.PointerObject,
  ): number;
}

function open(): Library {
  try {
    const { symbols } = Deno.dlopen("liburing.so.2", {
      io_uring_setup: { parameters: ["u32", "buffer"], result: "i32" },
      io_uring_enter: { parameters: ["i32", "u32", "u32", "u32", "pointer"], result: "i32" },
      io_uring_enter2: {
        parameters: ["i32", "u32", "u32", "u32", "pointer", "pointer"],
        result: "i32",
      },
    });
    // A size in the form of an address: a number given as `usize` would leave the fast path.
    const size = Deno.UnsafePointer.create(argumentBytes);
    return {
      setup: (entries, parameters) => symbols.io_uring_setup(entries, parameters),
      enter: (fd, submit, wait, flags) => symbols.io_uring_enter(fd, submit, wait, flags, null),
      enterWith: (fd, submit, wait, flags, argument) =>
        symbols.io_uring_enter2(fd, submit, wait, flags | enterExtended, argument, size),
    };
  } catch (cause) {
    throw new RingUnavailable(
      "liburing.so.2 cannot be loaded. Install Debian's package liburing2.",
      { cause },
    );
  }
}

const argumentBytes = 24n;

/** `struct io_uring_getevents_arg`, and behind it the time it points to: without one, the kernel would not go on to wait for one completion. */
function gathering(): Memory {
  const memory = mapMemory(4096);
  const words = new BigUint64Array(memory.buffer);
  new Uint32Array(memory.buffer)[3] = gather_us;
  words[2] = BigInt(memory.address) + argumentBytes;
  words[3] = 3600n;
  return memory;
}

function refusal(errno: number): RingUnavailable {
  if (errno === errnos.EPERM) {
    return new RingUnavailable(
      "The kernel does not permit io_uring to this process. Set the sysctl kernel.io_uring_disabled to 0, " +
        "or to 1 with this user's group in kernel.io_uring_group; in a container, allow the io_uring system calls.",
    );
  }
  if (errno === errnos.ENOSYS) {
    return new RingUnavailable("This kernel has no io_uring; Linux 5.15 or newer is needed.");
  }
  if (errno === errnos.ENOMEM) {
    return new RingUnavailable("io_uring found no memory; raise RLIMIT_MEMLOCK of the service.");
  }
  return new RingUnavailable(`io_uring_setup failed: ${errnoName(errno)}`);
}

/** Hears of one completion: the request's id, its result (negative errno), its flags. */
export type Completion = (id: number, result: number, flags: number) => void;

export class Ring {
  readonly fd: number;
  readonly #enter: Library["enter"];
  readonly #enterWith: Library["enterWith"];
  /** Undefined where the kernel can only wait for one. */
  readonly #gathering: Memory | undefined;
  readonly #ring: Memory;
  readonly #ringWords: Int32Array;
  readonly #submissions: Int32Array;
  readonly #submissionMemory: Memory;
  readonly #entries: number;
  readonly #submissionMask: number;
  readonly #submissionTail: number;
  readonly #completionMask: number;
  readonly #completionHead: number;
  readonly #completionTail: number;
  readonly #completionsAt: number;
  readonly #handedOver: number;
  #tail = 0;
  #pending = 0;
  readonly #handlers: Completion[] = [];

  /**
   * @param entries slots of the submission queue, a power of two
   * @throws RingUnavailable
   */
  constructor(entries: number) {
    const library = open();
    this.#enter = library.enter;
    this.#enterWith = library.enterWith;
    const parameters = new Uint32Array(30);
    let fd = -errnos.EINVAL;
    // The deferred mode needs Linux 6.1, the cooperative one 5.19; each older kernel refuses with EINVAL.
    for (
      const flags of [
        setupFlags.singleIssuer | setupFlags.deferTaskrun | setupFlags.coop,
        setupFlags.coop,
        0,
      ]
    ) {
      parameters.fill(0);
      parameters[1] = entries * 8;
      parameters[2] = flags | setupFlags.cqSize;
      fd = library.setup(entries, parameters);
      if (fd !== -errnos.EINVAL) break;
    }
    if (fd < 0) throw refusal(-fd);
    this.fd = fd;
    const word = (at: number) => parameters[at] ?? 0;
    if ((word(5) & featureSingleMap) === 0) {
      closeFile(fd);
      throw new RingUnavailable(
        "This kernel's io_uring is too old; Linux 5.15 or newer is needed.",
      );
    }
    this.#gathering = (word(5) & featureLeastWait) === 0 ? undefined : gathering();
    this.#entries = word(0);
    this.#handedOver = Math.min(handedOver, this.#entries);
    const length = Math.max(word(16) + word(0) * 4, word(25) + word(1) * completionWords * 4);
    this.#ring = mapShared(fd, length, 0);
    this.#ringWords = new Int32Array(this.#ring.buffer, 0, length >> 2);
    this.#submissionMemory = mapShared(fd, this.#entries * submissionWords * 4, 0x10000000);
    this.#submissions = new Int32Array(this.#submissionMemory.buffer);
    // All of these are byte offsets into the ring, where the values themselves are found.
    this.#submissionTail = word(11) >> 2;
    this.#submissionMask = this.#ringWords[word(12) >> 2] ?? 0;
    this.#completionHead = word(20) >> 2;
    this.#completionTail = word(21) >> 2;
    this.#completionMask = this.#ringWords[word(22) >> 2] ?? 0;
    this.#completionsAt = word(25) >> 2;
    for (let i = 0; i < this.#entries; i++) this.#ringWords[(word(16) >> 2) + i] = i;
    this.#tail = this.#ringWords[this.#submissionTail] ?? 0;
  }

  /** Registers who hears of completions of a new kind; returns the kind. */
  kind(handler: Completion): number {
    return this.#handlers.push(handler) - 1;
  }

  /** Queues one request; it goes to the kernel with the next `turn`, or when some are together. */
  queue(
    operation: number,
    fd: number,
    offset: number,
    address: number,
    length: number,
    operationFlags: number,
    kind: number,
    id: number,
  ): void {
    if (this.#pending >= this.#handedOver) this.#submit(0, 0);
    const words = this.#submissions;
    const at = (this.#tail & this.#submissionMask) * submissionWords;
    words[at] = operation;
    words[at + 1] = fd;
    words[at + 2] = offset | 0;
    words[at + 3] = (offset / 4294967296) | 0;
    words[at + 4] = address | 0;
    words[at + 5] = (address / 4294967296) | 0;
    words[at + 6] = length;
    words[at + 7] = operationFlags;
    words[at + 8] = id;
    words[at + 9] = kind;
    words[at + 10] = 0;
    words[at + 11] = 0;
    words[at + 12] = 0;
    words[at + 13] = 0;
    words[at + 14] = 0;
    words[at + 15] = 0;
    this.#tail = (this.#tail + 1) | 0;
    this.#pending++;
  }

  /**
   * Hands everything queued to the kernel. The kernel may take fewer than asked, or be interrupted,
   * or want completions to be reaped first (EBUSY, EAGAIN): what is left stays pending.
   */
  #submit(wait: number, flags: number): void {
    Atomics.store(this.#ringWords, this.#submissionTail, this.#tail);
    for (;;) {
      const result = wait > 1 && this.#gathering !== undefined
        ? this.#enterWith(this.fd, this.#pending, wait, flags, this.#gathering.pointer)
        : this.#enter(this.fd, this.#pending, Math.min(wait, 1), flags);
      if (result >= 0) {
        this.#pending -= result;
        if (this.#pending === 0 || wait > 0) return;
        continue;
      }
      if (result === -errnos.EINTR || result === -errnos.ETIME) {
        if (wait > 0) return;
        continue;
      }
      if (result === -errnos.EAGAIN || result === -errnos.EBUSY) {
        if (wait > 0) return;
        // The completion queue has overflowed: the kernel moves what it kept back once it may.
        this.#enter(this.fd, 0, 0, enterGetEvents);
        if (this.#reapable() > 0) this.#reap();
        continue;
      }
      throw new Error(`io_uring_enter failed: ${errnoName(-result)}`);
    }
  }

  #reapable(): number {
    const tail = Atomics.load(this.#ringWords, this.#completionTail);
    return (tail - (this.#ringWords[this.#completionHead] ?? 0)) | 0;
  }

  /**
   * Submits what is queued, waits for at least `wait` completions, and tells all that have come. More than one are waited for
   * `gather_us` at most, and not at all when something is done as soon as it is submitted; then one is enough.
   */
  turn(wait: number): void {
    if (wait > 1 && this.#pending > 0) this.#submit(0, 0);
    this.#submit(this.#reapable() > 0 ? 0 : wait, enterGetEvents);
    this.#reap();
  }

  #reap(): void {
    const words = this.#ringWords;
    let head = words[this.#completionHead] ?? 0;
    const tail = Atomics.load(words, this.#completionTail);
    while (head !== tail) {
      const at = this.#completionsAt + (head & this.#completionMask) * completionWords;
      const id = words[at] ?? 0;
      const kind = words[at + 1] ?? 0;
      const result = words[at + 2] ?? 0;
      const flags = words[at + 3] ?? 0;
      head = (head + 1) | 0;
      Atomics.store(words, this.#completionHead, head);
      const handler = this.#handlers[kind];
      if (handler === undefined) throw new Error(`completion of unknown kind ${kind}`);
      handler(id, result, flags);
    }
  }

  /**
   * The kernel cancels what is still under way. The maps hold the ring as much as its descriptor
   * does, so they go too; the ring must not be touched again.
   */
  close(): void {
    closeFile(this.fd);
    unmap(this.#ring);
    unmap(this.#submissionMemory);
    if (this.#gathering !== undefined) unmap(this.#gathering);
  }
}
