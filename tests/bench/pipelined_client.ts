/**
 * An NBD client that always has 32 requests of 4 KiB under way, or another number, and does nothing else: it sends them in one
 * go and reads all answers. With it the engine's own processor time for an operation is seen, which a client
 * that sends one request at a time would hide behind wake-ups.
 */
import { processorTime, threadNamed } from "./processor_time.ts";

const usualDepth = 32;
/** As Deno calls the thread of the first worker. */
const engineThread = "worker-1";
const blockBytes = 4096;
const headerBytes = 28;

async function readExactly(connection: Deno.UnixConn, into: Uint8Array): Promise<void> {
  for (let done = 0; done < into.length;) {
    const count = await connection.read(into.subarray(done));
    if (count === null) throw new Error("the server ended the connection");
    done += count;
  }
}

async function writeAll(connection: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length;) done += await connection.write(bytes.subarray(done));
}

async function connect(socket: string, name: string): Promise<Deno.UnixConn> {
  const connection = await Deno.connect({ transport: "unix", path: socket });
  await readExactly(connection, new Uint8Array(18));
  const title = new TextEncoder().encode(name);
  const request = new Uint8Array(20 + title.length);
  const view = new DataView(request.buffer);
  // Flags without zeroes, then NBD_OPT_EXPORT_NAME.
  view.setUint32(0, 3);
  view.setBigUint64(4, 0x49484156454f5054n);
  view.setUint32(12, 1);
  view.setUint32(16, title.length);
  request.set(title, 20);
  await writeAll(connection, request);
  await readExactly(connection, new Uint8Array(10));
  return connection;
}

export interface Cost {
  readonly operations: number;
  readonly perSecond: number;
  readonly user_us: number;
  readonly system_us: number;
  /** Of both, what the engine's own thread took; the others work for what is not answered, or later. */
  readonly thread_us?: number;
}

/** Random reads or writes for a while; what each cost the process `pid`. */
export async function cost(
  options: {
    readonly socket: string;
    readonly name: string;
    readonly pid: number;
    readonly kind: "read" | "write";
    readonly blocks: number;
    readonly seconds: number;
    /** Requests under way. */
    readonly depth?: number;
  },
): Promise<Cost> {
  using connection = await connect(options.socket, options.name);
  const writes = options.kind === "write";
  const depth = options.depth ?? usualDepth;
  const requestBytes = headerBytes + (writes ? blockBytes : 0);
  const out = new Uint8Array(depth * requestBytes);
  const view = new DataView(out.buffer);
  for (let at = 0; at < out.length; at += 65_536) {
    crypto.getRandomValues(out.subarray(at, at + 65_536));
  }
  const answers = new Uint8Array(depth * (16 + (writes ? 0 : blockBytes)));
  const answer = new DataView(answers.buffer);
  const thread = threadNamed(options.pid, engineThread);
  const ofThread = () => {
    if (thread === undefined) return 0;
    const [user, system] = processorTime(options.pid, thread);
    return user + system;
  };
  const threadBefore = ofThread();
  const [user, system] = processorTime(options.pid);
  const begun = performance.now();
  let operations = 0;
  for (; performance.now() - begun < options.seconds * 1000; operations += depth) {
    for (let i = 0; i < depth; i++) {
      const at = i * requestBytes;
      const offset = Math.floor(Math.random() * options.blocks) * blockBytes;
      view.setUint32(at, 0x25609513);
      view.setUint32(at + 4, writes ? 1 : 0);
      view.setBigUint64(at + 8, BigInt(operations + i));
      view.setBigUint64(at + 16, BigInt(offset));
      view.setUint32(at + 24, blockBytes);
    }
    await writeAll(connection, out);
    await readExactly(connection, answers);
    if (answer.getUint32(0) !== 0x67446698 || answer.getUint32(4) !== 0) {
      throw new Error(`the server answered error ${answer.getUint32(4)}`);
    }
  }
  const seconds = (performance.now() - begun) / 1000;
  const [userAfter, systemAfter] = processorTime(options.pid);
  return {
    operations,
    perSecond: operations / seconds,
    user_us: (userAfter - user) / operations,
    system_us: (systemAfter - system) / operations,
    ...(thread === undefined ? {} : { thread_us: (ofThread() - threadBefore) / operations }),
  };
}
