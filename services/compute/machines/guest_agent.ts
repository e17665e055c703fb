/**
 * A client of the agent in a guest (qemu-guest-agent), over the guest's virtio-serial channel.
 *
 * Whatever comes out of the channel was written by the guest and may be anything: bytes without an end, JSON of any
 * shape, old answers, nothing at all. So a line has a length, an exchange has a number of bytes and a
 * time, and an answer is believed only where it has the one form that it must have. What breaks one of these rules
 * ends the connection; the next one begins anew.
 *
 * QEMU serves one client after the other, and hears of the next one when the one before has gone, however that came
 * about. So a freeze first leaves a second client in the queue, who has said "thaw" already: with our process, whatever
 * ends it, both connections go, and QEMU hands on what the second one said. Nobody has to be there for that.
 */
import { joined } from "../../aws/bytes.ts";

/** What we ask for is answered in under a hundred bytes, a refusal in a few hundred. */
const maxLine_bytes = 4096;
/** What may come before an answer: the rest of what an earlier client was told. */
const maxExchange_bytes = 64 << 10;
/** How much of a guest's own words gets into a log. */
const maxSaid = 200;
/** Before an answer to `guest-sync-delimited`, and before our own question: never part of JSON in UTF-8. */
const delimiter = 0xff;
const newline = 0x0a;

/** The agent is not there, did not answer in time, or said what no agent says. */
export class AgentSilent extends Error {
  override readonly name = "AgentSilent";
}

/** The agent is there and would not. */
export class AgentRefused extends Error {
  override readonly name = "AgentRefused";
}

type Question = "guest-fsfreeze-freeze" | "guest-fsfreeze-thaw";

const encoder = new TextEncoder();
// Not fatal: what is no UTF-8 is no JSON that we want either.
const decoder = new TextDecoder();

const isRecord = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** A guest's words, short and without what could play with a terminal. */
const shorten = (text: unknown) =>
  typeof text === "string"
    ? text.slice(0, maxSaid).replaceAll(/[^\x20-\x7e]/g, "?")
    : "no description";

/** @throws AgentSilent unless the line is an answer of the machine protocol's form */
function parseAnswer(line: Uint8Array): Readonly<Record<string, unknown>> {
  let answer: unknown;
  try {
    answer = JSON.parse(decoder.decode(line));
  } catch {
    throw new AgentSilent("The guest's agent does not speak JSON.");
  }
  if (!isRecord(answer)) throw new AgentSilent("The guest's agent answers with no object.");
  return answer;
}

function question(execute: string, first?: number, args?: Readonly<Record<string, number>>) {
  const line = `${
    JSON.stringify({ execute, ...(args === undefined ? {} : { arguments: args }) })
  }\n`;
  return new Uint8Array([...(first === undefined ? [] : [first]), ...encoder.encode(line)]);
}

/** A number of file systems. @throws AgentSilent, AgentRefused */
function countOf(execute: Question, answer: Readonly<Record<string, unknown>>): number {
  const { return: count, error } = answer;
  if (isRecord(error)) throw new AgentRefused(`${execute}: ${shorten(error["desc"])}`);
  if (typeof count !== "number" || !Number.isSafeInteger(count) || count < 0) {
    throw new AgentSilent(`${execute} is not answered with a number.`);
  }
  return count;
}

export class GuestAgent implements Disposable {
  readonly #path: string;
  readonly #connection: Deno.UnixConn;
  /** The next in QEMU's queue, who only says "thaw". */
  #heir: Deno.UnixConn | undefined;
  readonly #buffer = new Uint8Array(maxLine_bytes);
  /** What came and is not used yet. */
  #held = new Uint8Array(0);
  #isOpen = true;

  private constructor(path: string, connection: Deno.UnixConn) {
    this.#path = path;
    this.#connection = connection;
  }

  /**
   * Connects, and finds out that an agent is there: it answers a number that only this client has asked it with.
   * @param first what it is told before that, and does also when it answers nothing in time
   * @throws AgentSilent
   */
  static async connect(
    path: string,
    bound_ms: number,
    first?: "guest-fsfreeze-thaw",
  ): Promise<GuestAgent> {
    const limit = performance.now() + bound_ms;
    const connecting = Deno.connect({ transport: "unix", path });
    let agent: GuestAgent;
    try {
      agent = new GuestAgent(path, await bounded(connecting, bound_ms));
    } catch (cause) {
      void connecting.then((late) => late.close(), () => {});
      throw new AgentSilent("The guest's channel does not open.", { cause });
    }
    try {
      await agent.#within(Math.max(1, limit - performance.now()), async () => {
        if (first !== undefined) await write(agent.#connection, question(first, delimiter));
        await agent.#synchronize();
      });
      return agent;
    } catch (error) {
      agent[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Writes everything to the guest's disks and holds back further writes, until it is told to thaw or this connection
   * ends. @returns how many file systems
   */
  async freeze(bound_ms: number): Promise<number> {
    return await this.#within(bound_ms, async () => {
      await this.#leaveThaw();
      return await this.#asked("guest-fsfreeze-freeze");
    });
  }

  /** Lets the guest write again; one that is not frozen is no error. */
  async thaw(bound_ms: number): Promise<number> {
    return await this.#ask("guest-fsfreeze-thaw", bound_ms);
  }

  async #ask(execute: Question, bound_ms: number): Promise<number> {
    return await this.#within(bound_ms, () => this.#asked(execute));
  }

  async #asked(execute: Question): Promise<number> {
    await write(this.#connection, question(execute));
    return countOf(execute, parseAnswer(await this.#line(newline, maxLine_bytes)));
  }

  async #leaveThaw(): Promise<void> {
    if (this.#heir !== undefined) return;
    const heir = await Deno.connect({ transport: "unix", path: this.#path });
    if (!this.#isOpen) {
      heir.close();
      throw new AgentSilent("The guest's channel was closed.");
    }
    this.#heir = heir;
    // Without the delimiter, which the agent answers with an error: it would wait for somebody to hear that first.
    await write(heir, question("guest-fsfreeze-thaw"));
  }

  async #synchronize(): Promise<void> {
    const id = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
    // The delimiter ends what an earlier client may have begun to say.
    await write(this.#connection, question("guest-sync-delimited", delimiter, { id }));
    for (let left = maxExchange_bytes; left > 0;) {
      left -= (await this.#line(delimiter, left)).length + 1;
      const line = await this.#line(newline, maxLine_bytes);
      left -= line.length + 1;
      // An earlier client's answer may come first.
      if (parseAnswer(line)["return"] === id) return;
    }
    throw new AgentSilent("The guest's agent talks without answering.");
  }

  /** What comes before the next `end`. @throws AgentSilent when that is more than `most` bytes */
  async #line(end: number, most: number): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (let length = 0;;) {
      const at = this.#held.indexOf(end);
      const part = at < 0 ? this.#held : this.#held.subarray(0, at);
      length += part.length;
      if (length > most) throw new AgentSilent("The guest's agent says too much.");
      parts.push(part);
      if (at >= 0) {
        this.#held = this.#held.subarray(at + 1);
        return joined(parts);
      }
      const count = await this.#connection.read(this.#buffer);
      if (count === null) throw new AgentSilent("The guest's channel was closed.");
      this.#held = this.#buffer.slice(0, count);
    }
  }

  /** One exchange. Any end of it but a good one, or a refusal, closes the connection: what is said later is unheard. */
  async #within<T>(bound_ms: number, exchange: () => Promise<T>): Promise<T> {
    const timer = setTimeout(() => this[Symbol.dispose](), bound_ms);
    try {
      return await exchange();
    } catch (error) {
      if (error instanceof AgentRefused) throw error;
      this[Symbol.dispose]();
      if (error instanceof AgentSilent) throw error;
      throw new AgentSilent("The guest's agent did not answer in time.", { cause: error });
    } finally {
      clearTimeout(timer);
    }
  }

  [Symbol.dispose](): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const connection of [this.#connection, this.#heir]) {
      try {
        connection?.close();
      } catch {
        // The other side's end has closed it.
      }
    }
  }
}

async function write(connection: Deno.UnixConn, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
}

async function bounded<T>(promise: Promise<T>, bound_ms: number): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new AgentSilent("Not in time.")), bound_ms);
  try {
    return await Promise.race([promise, late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
