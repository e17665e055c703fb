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
import { at, capture, Connection, rawRequest } from "./raw_https.ts";

const rounds = 300;

const encoder = new TextEncoder();

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
    const body = (await ours.exchange(request)).text();
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
      ratio: at(mine, 0.5) / at(theirs, 0.5),
      detail: `p50 ${at(mine, 0.5).toFixed(2)} ms, p99 ${at(mine, 0.99).toFixed(2)} ms; bare p50 ${
        at(theirs, 0.5).toFixed(3)
      } ms; ${body.length} bytes`,
    }));
    await server.shutdown();
  }
}
