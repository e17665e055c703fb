/**
 * Requests a second of a signed STS call through gateway and bus, against a bare TLS answer of
 * `Deno.serve` in the same run: `deno run -A tests/gateway/throughput.ts [seconds]`. The ratio is what
 * can be compared between machines; load, gateway, nats-server and this process share the cores.
 */
import { GetCallerIdentityCommand, STSClient } from "@aws-sdk/client-sts";
import { setNoDelayOnListeners } from "../../ffi/tcp.ts";
import { subject } from "../../services/bus/subject.ts";
import { startGatewayProcess } from "../kit/gateway_process.ts";

const seconds = Number(Deno.args[0] ?? 3);
const connections = 16;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Processor time that a process has used so far, in microseconds. */
async function cpuOf(pid: number): Promise<number> {
  const stat = await Deno.readTextFile(`/proc/${pid}/stat`);
  const fields = stat.slice(stat.lastIndexOf(") ") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * 10_000;
}

/** One request after the other on each connection. @returns requests a second and the median in ms */
async function load(port: number, ca: string, request: string) {
  const bytes = encoder.encode(request);
  const times: number[] = [];
  const until = performance.now() + seconds * 1_000;
  const one = async () => {
    using connection = await Deno.connectTls({ hostname: "localhost", port, caCerts: [ca] });
    const buffer = new Uint8Array(65_536);
    while (performance.now() < until) {
      const started = performance.now();
      await connection.write(bytes);
      let have = 0;
      let need = Infinity;
      while (have < need) {
        const read = await connection.read(buffer.subarray(have));
        if (read === null) throw new Error("the connection was closed");
        have += read;
        if (need !== Infinity) continue;
        const text = decoder.decode(buffer.subarray(0, have));
        const end = text.indexOf("\r\n\r\n");
        if (end < 0) continue;
        if (!text.startsWith("HTTP/1.1 200")) throw new Error(text);
        need = end + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1]);
      }
      times.push(performance.now() - started);
    }
  };
  const started = performance.now();
  await Promise.all(Array.from({ length: connections }, one));
  times.sort((a, b) => a - b);
  return {
    per_second: Math.round(times.length / (performance.now() - started) * 1_000),
    p50_ms: times[times.length >> 1] ?? 0,
    p99_ms: times[Math.floor(times.length * 0.99)] ?? 0,
  };
}

if (Deno.args[0] === "hello") {
  const [, cert = "", key = ""] = Deno.args;
  Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    cert: await Deno.readTextFile(cert),
    key: await Deno.readTextFile(key),
    onListen: ({ port }) => {
      setNoDelayOnListeners();
      console.log(port);
    },
  }, () => new Response("hello"));
} else {
  await using gateway = await startGatewayProcess();
  const { tls } = gateway.node.paths;
  const ca = await Deno.readTextFile(tls.ca);
  const identity = await gateway.bus("identity");
  identity.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => ({
    UserId: "AIDATEST",
    Account: "123456789012",
    Arn: "arn:aws:iam::123456789012:user/test",
  }));
  await identity.connection.flush();

  let signed = "";
  const port = gateway.node.config.ports.gateway;
  const client = new STSClient({
    region: "ap-southeast-2",
    endpoint: gateway.endpoint,
    credentials: { accessKeyId: "AKIATEST", secretAccessKey: "secret" },
    requestHandler: {
      handle: (request: { headers: Record<string, string>; body: string }) => {
        const head = Object.entries(request.headers).map(([name, value]) =>
          `${name}: ${value}\r\n`
        );
        signed = `POST / HTTP/1.1\r\n${head.join("")}\r\n${request.body}`;
        return Promise.resolve({
          response: { statusCode: 200, headers: {}, body: new Uint8Array() },
        });
      },
    },
  });
  await client.send(new GetCallerIdentityCommand({}));

  const hello = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", import.meta.filename ?? "", "hello", tls.cert, tls.key],
    stdout: "piped",
  }).spawn();
  const reader = hello.stdout.getReader();
  const helloPort = Number(decoder.decode((await reader.read()).value));
  const plain = `GET / HTTP/1.1\r\nhost: localhost:${helloPort}\r\n\r\n`;
  const health = `GET /health HTTP/1.1\r\nhost: localhost:${port}\r\n\r\n`;
  const calls = async () => Number((await gateway.health()).facts["calls"]);
  await load(port, ca, signed);
  const before = { cpu: await cpuOf(gateway.pid), calls: await calls() };
  const sts = await load(port, ca, signed);
  const cost = ((await cpuOf(gateway.pid)) - before.cpu) / ((await calls()) - before.calls);
  const rows = {
    "TLS hello": await load(helloPort, ca, plain),
    "gateway health": await load(port, ca, health),
    "signed STS through the bus": sts,
  };
  const base = rows["TLS hello"].per_second;
  for (const [name, row] of Object.entries(rows)) {
    console.log(
      `${name.padEnd(28)} ${String(row.per_second).padStart(7)}/s ${
        (row.per_second / base * 100).toFixed(1).padStart(6)
      } %  p50 ${row.p50_ms.toFixed(2)} ms  p99 ${row.p99_ms.toFixed(2)} ms`,
    );
  }
  console.log(`gateway: ${cost.toFixed(0)} us of processor time per signed call`);
  console.log("gateway:", JSON.stringify((await gateway.health()).facts));
  hello.kill();
  await hello.status;
  await reader.cancel();
}
