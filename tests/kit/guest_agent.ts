/**
 * What a guest's agent is to the host: a Unix socket with somebody unknown behind it, who answers each command as a
 * test wants. One client at a time, as QEMU's.
 */
import { join } from "node:path";

type Said = string | Uint8Array;
type Answer =
  | Iterable<Said>
  | AsyncIterable<Said>
  | "hang up";

export type Agent = Readonly<
  Record<string, (args: Readonly<Record<string, unknown>>) => Answer | Promise<Answer>>
>;

export interface ServedAgent extends AsyncDisposable {
  readonly path: string;
  /** Names of commands, in the order in which they came. */
  readonly heard: string[];
}

/** One that does all that it is asked. */
export function goodAgent(): Agent {
  return {
    "guest-sync-delimited": ({ id }) => [new Uint8Array([0xff]), `{"return": ${id}}\n`],
    "guest-fsfreeze-freeze": () => [`{"return": 2}\n`],
    "guest-fsfreeze-thaw": () => [`{"return": 2}\n`],
  };
}

/** @param at where it listens; a directory of its own unless given */
export async function serveAgent(agent: Agent, at?: string): Promise<ServedAgent> {
  const directory = at === undefined ? await Deno.makeTempDir({ prefix: "mulga-ga-" }) : undefined;
  const path = at ?? join(directory ?? "", "agent");
  const listener = Deno.listen({ transport: "unix", path });
  const heard: string[] = [];
  let connection: Deno.UnixConn | undefined;

  const write = async (to: Deno.UnixConn, said: Said) => {
    const bytes = typeof said === "string" ? new TextEncoder().encode(said) : said;
    for (let done = 0; done < bytes.length;) done += await to.write(bytes.subarray(done));
  };
  const converse = async (client: Deno.UnixConn) => {
    const buffer = new Uint8Array(64 << 10);
    let text = "";
    for (;;) {
      const count = await client.read(buffer);
      if (count === null) return;
      // The delimiter is no text; an agent passes over it.
      text += String.fromCharCode(...buffer.subarray(0, count)).replaceAll("\xff", "");
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      for (const line of lines) {
        const { execute, arguments: args = {} } = JSON.parse(line);
        heard.push(execute);
        const answer = await agent[execute]?.(args) ?? [];
        if (answer === "hang up") return;
        for await (const said of answer) await write(client, said);
      }
    }
  };
  const serving = (async () => {
    for await (const client of listener) {
      connection = client;
      // A client that leaves in the middle of an answer is no fault.
      await converse(client).catch(() => {});
      close(client);
    }
  })();
  return {
    path,
    heard,
    async [Symbol.asyncDispose]() {
      listener.close();
      if (connection !== undefined) close(connection);
      await serving.catch(() => {});
      if (directory !== undefined) await Deno.remove(directory, { recursive: true });
    },
  };
}

function close(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed already.
  }
}
