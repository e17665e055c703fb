/**
 * What an API call costs over one TLS connection, against a bare `Deno.serve` TLS response of the
 * same size in the same run: signed requests are made once and replayed as raw HTTP, interleaved.
 *
 * Prints one JSON line per figure: `{name, ratio, detail}`; a ratio is ours by bare, of the median.
 */
import {
  DescribeInstanceTypesCommand,
  DescribeRegionsCommand,
  EC2Client,
} from "@aws-sdk/client-ec2";
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";
import { pathsOf } from "../../services/config/node_config.ts";
import { startStack } from "../kit/stack.ts";

const rounds = 300;

interface Captured {
  readonly method: string;
  readonly path: string;
  readonly query?: Record<string, string>;
  readonly headers: Record<string, string>;
  readonly body?: string;
}

/** Signs a command as the SDK would, without sending it. */
async function capture(send: (handler: unknown) => Promise<unknown>): Promise<Captured> {
  let captured: Captured | undefined;
  try {
    await send({
      handle: (request: Captured) => {
        captured = request;
        throw new Error("captured");
      },
    });
  } catch (error) {
    if (captured === undefined) throw error;
  }
  if (captured === undefined) throw new Error("nothing was sent");
  return captured;
}

const encoder = new TextEncoder();

function rawRequest(request: Captured): Uint8Array {
  const headers = Object.entries({
    ...request.headers,
    "content-length": String(encoder.encode(request.body ?? "").length),
  }).map(([name, value]) => `${name}: ${value}\r\n`).join("");
  return encoder.encode(
    `${request.method} ${request.path} HTTP/1.1\r\n${headers}\r\n${request.body ?? ""}`,
  );
}

/** One keep-alive connection that sends the same bytes again and reads whole answers. */
class Connection implements Disposable {
  readonly #buffer = new Uint8Array(4 << 20);
  readonly #decoder = new TextDecoder("latin1");
  private constructor(readonly connection: Deno.TlsConn) {}

  static async open(port: number, ca: string): Promise<Connection> {
    const connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
    return new Connection(connection);
  }

  /** Milliseconds for one exchange, and the body's size. */
  async exchange(request: Uint8Array): Promise<{ ms: number; body: string; bytes: number }> {
    const started = performance.now();
    await this.connection.write(request);
    let have = 0;
    for (;;) {
      const got = await this.connection.read(this.#buffer.subarray(have));
      if (got === null) throw new Error("the connection was closed");
      have += got;
      const head = this.#decoder.decode(this.#buffer.subarray(0, Math.min(have, 8192)));
      const end = head.indexOf("\r\n\r\n");
      if (end < 0) continue;
      const length = /content-length: (\d+)/i.exec(head.slice(0, end));
      const whole = length !== null
        ? have >= end + 4 + Number(length[1])
        : this.#decoder.decode(this.#buffer.subarray(have - 5, have)) === "0\r\n\r\n";
      if (!whole) continue;
      const ms = performance.now() - started;
      const body = this.#decoder.decode(this.#buffer.subarray(end + 4, have));
      if (!head.startsWith("HTTP/1.1 200")) {
        throw new Error(head.slice(0, 100) + body.slice(0, 500));
      }
      return { ms, body, bytes: have - end - 4 };
    }
  }

  [Symbol.dispose](): void {
    this.connection.close();
  }
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? NaN;
const at99 = (values: number[]) =>
  values.sort((a, b) => a - b)[Math.floor(values.length * 0.99)] ?? NaN;

if (import.meta.main) {
  await using stack = await startStack();
  const paths = pathsOf(stack.dataDir);
  const config = JSON.parse(await Deno.readTextFile(paths.config));
  const ca = await Deno.readTextFile(paths.tls.ca);
  const credentials = await Deno.readTextFile(stack.awsEnv["AWS_SHARED_CREDENTIALS_FILE"] ?? "");
  const field = (name: string) => new RegExp(`${name}\\s*=\\s*(\\S+)`).exec(credentials)?.[1] ?? "";
  const client = {
    region: config.region,
    endpoint: `https://localhost:${config.ports.gateway}`,
    credentials: {
      accessKeyId: field("aws_access_key_id"),
      secretAccessKey: field("aws_secret_access_key"),
    },
    maxAttempts: 1,
  };
  const calls = {
    "sts GetCallerIdentity": (handler: unknown) =>
      new STSClient({ ...client, requestHandler: handler as never }).send(
        new GetCallerIdentityCommand({}),
      ),
    "ec2 DescribeRegions": (handler: unknown) =>
      new EC2Client({ ...client, requestHandler: handler as never }).send(
        new DescribeRegionsCommand({}),
      ),
    "ec2 DescribeInstanceTypes": (handler: unknown) =>
      new EC2Client({ ...client, requestHandler: handler as never }).send(
        new DescribeInstanceTypesCommand({}),
      ),
  };
  for (const [name, send] of Object.entries(calls)) {
    const request = rawRequest(await capture(send));
    using ours = await Connection.open(config.ports.gateway, ca);
    const { body } = await ours.exchange(request);
    const server = Deno.serve({
      port: 0,
      cert: await Deno.readTextFile(paths.tls.cert),
      key: await Deno.readTextFile(paths.tls.key),
      onListen: () => setNoDelayOnListeners(),
    }, () => new Response(body));
    using bare = await Connection.open(server.addr.port, ca);
    const plain = encoder.encode("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    for (let warm = 0; warm < 50; warm++) {
      await ours.exchange(request);
      await bare.exchange(plain);
    }
    const [mine, theirs]: [number[], number[]] = [[], []];
    for (let round = 0; round < rounds; round++) {
      mine.push((await ours.exchange(request)).ms);
      theirs.push((await bare.exchange(plain)).ms);
    }
    console.log(JSON.stringify({
      name: `${name} latency by bare TLS response`,
      ratio: median(mine) / median(theirs),
      detail: `p50 ${median(mine).toFixed(2)} ms, p99 ${at99(mine).toFixed(2)} ms; bare p50 ${
        median(theirs).toFixed(3)
      } ms; ${body.length} bytes`,
    }));
    await server.shutdown();
  }
}
