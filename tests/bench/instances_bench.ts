/**
 * DescribeInstances over 1,000 instances of one account: all of them in one answer at 50 requests a
 * second, and pages of 100, each beside a bare TLS answer of the same size in the same run.
 *
 * The instances are records as RunInstances leaves them: one is launched and stopped through the API,
 * the others are its record under ids and addresses of their own. Arrivals are open-loop, see
 * `raw_https.ts`. Every service and the bare server is a process of its own, and so is this client;
 * all share the machine. Prints one JSON line per figure: `{name, ratio, detail}`; the ratio is ours by
 * bare. `MULGA_BENCH_ROUNDS` (3): the best of so many runs counts, since others may share the machine;
 * the processor time of an answer, which is printed as well, hardly depends on them.
 */
import {
  DescribeInstancesCommand,
  EC2Client,
  RunInstancesCommand,
  StopInstancesCommand,
  waitUntilInstanceRunning,
  waitUntilInstanceStopped,
} from "@aws-sdk/client-ec2";
import { importImage, type InstanceRecord } from "../../services/compute/contract.ts";
import { newId } from "../../services/resources/ids.ts";
import { Table } from "../../services/state/table.ts";
import { blankDisk, smallest } from "../compute/launches.ts";
import { type Ec2Cloud, startEc2Cloud } from "../kit/ec2_cloud.ts";
import { freePort, testLog } from "../kit/nats.ts";
import { arrivals, at, capture, Connection, rawRequest } from "./raw_https.ts";

const instances = 1000;
const per_second = 50;
const seconds = Number(Deno.env.get("MULGA_BENCH_SECONDS") ?? "10");
const rounds = Number(Deno.env.get("MULGA_BENCH_ROUNDS") ?? "3");

/** One instance by the API, the others as copies of its record. */
async function makeInstances(cloud: Ec2Cloud, ec2: EC2Client): Promise<void> {
  const { node, admin } = cloud;
  const disk = await blankDisk();
  const image = await (await node.bus("operator")).ask(importImage, {
    account_id: admin.account_id,
    path: disk,
    format: "raw",
    name: "blank",
    architecture: Deno.build.arch === "aarch64" ? "arm64" : "x86_64",
  });
  const { Instances: [first] = [] } = await ec2.send(
    new RunInstancesCommand({
      ImageId: image.image_id,
      InstanceType: smallest as "t2.nano",
      MinCount: 1,
      MaxCount: 1,
      UserData: btoa("#!/bin/sh\necho user data of an ordinary length\n".repeat(8)),
      TagSpecifications: [{
        ResourceType: "instance",
        Tags: [{ Key: "Name", Value: "web" }, { Key: "team", Value: "blue" }],
      }],
    }),
  );
  const InstanceIds = [first?.InstanceId ?? ""];
  const waiting = { client: ec2, maxWaitTime: 120, minDelay: 1, maxDelay: 1 };
  await waitUntilInstanceRunning(waiting, { InstanceIds });
  await ec2.send(new StopInstancesCommand({ InstanceIds, Force: true }));
  await waitUntilInstanceStopped(waiting, { InstanceIds });
  await Deno.remove(disk);
  await using table = await Table.open<InstanceRecord>(
    await node.bus("compute"),
    "ec2_instances",
    testLog,
  );
  const model = table.get(`${admin.account_id}.${InstanceIds[0]}`)?.value;
  if (model === undefined) throw new Error("the launched instance has no record");
  for (let made = 1; made < instances; made += 100) {
    const many = Math.min(100, instances - made);
    await Promise.all(Array.from({ length: many }, (_, index) => {
      const copy = copyOf(model, made + index);
      return table.create(`${copy.account_id}.${copy.instance_id}`, copy);
    }));
  }
}

function copyOf(model: InstanceRecord, number: number): InstanceRecord {
  const address = `172.31.${16 + (number >> 8)}.${number & 255}`;
  const mac = `02:00:00:00:${(number >> 8).toString(16).padStart(2, "0")}:${
    (number & 255).toString(16).padStart(2, "0")
  }`;
  const name = model.network.private_dns_name.replace(
    /^[^.]*/,
    `ip-${address.replaceAll(".", "-")}`,
  );
  const interface_id = newId("eni-");
  const own = { private_ip: address, private_dns_name: name, mac, interface_id };
  return {
    ...model,
    instance_id: newId("i-"),
    reservation_id: newId("r-"),
    network: {
      ...model.network,
      ...own,
      ...(model.network.interfaces === undefined ? {} : {
        interfaces: model.network.interfaces.map((one) => ({
          ...one,
          ...own,
          private_ips: [address],
          attachment_id: newId("eni-attach-"),
        })),
      }),
    },
    attachments: model.attachments.map((one) => ({ ...one, volume_id: newId("vol-") })),
    planned_volumes: [],
    tags: { ...model.tags, Name: `web-${number}` },
  };
}

async function startBare(cloud: Ec2Cloud): Promise<{ port: number } & AsyncDisposable> {
  const port = freePort();
  const { cert, key } = cloud.node.paths.tls;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--quiet",
      new URL("bare_https.ts", import.meta.url).pathname,
      String(port),
      cert,
      key,
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reader = child.stdout.getReader();
  await reader.read();
  reader.releaseLock();
  return {
    port,
    async [Symbol.asyncDispose]() {
      child.kill();
      await child.stdout.cancel();
      await child.status;
    },
  };
}

/** Processes of the cloud, the bare server and this client. */
function processesOf(cloud: Ec2Cloud, bare: number): number[] {
  const found = [Deno.pid];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name) || Number(name) === Deno.pid) continue;
    try {
      const command = Deno.readTextFileSync(`/proc/${name}/cmdline`);
      const whole = command + Deno.readTextFileSync(`/proc/${name}/environ`);
      const isBare = command.includes("bare_https.ts") && command.includes(String(bare));
      if (isBare || whole.includes(cloud.node.config.data_dir)) found.push(Number(name));
    } catch {
      // It has ended.
    }
  }
  return found;
}

/** Processor time that they have had, in ms. */
function processor_ms(processes: readonly number[]): number {
  let ticks = 0;
  for (const pid of processes) {
    const fields = Deno.readTextFileSync(`/proc/${pid}/stat`).split(") ")[1]?.split(" ") ?? [];
    ticks += Number(fields[11]) + Number(fields[12]);
  }
  return ticks * 10;
}

/** Of one exchange, over all processes, one after the other: other work on the machine hardly counts. */
async function processorTime(
  connection: Connection,
  request: Uint8Array,
  processes: readonly number[],
): Promise<number> {
  const before = processor_ms(processes);
  for (let round = 0; round < 100; round++) await connection.exchange(request);
  return (processor_ms(processes) - before) / 100;
}

const load = () => Deno.loadavg()[0]?.toFixed(1);

if (import.meta.main) {
  await using cloud = await startEc2Cloud();
  await using bare = await startBare(cloud);
  const ca = await Deno.readTextFile(cloud.node.paths.tls.ca);
  const settings = cloud.settings();
  const ec2 = new EC2Client(settings);
  await makeInstances(cloud, ec2);
  ec2.destroy();
  const signed = async (input: { MaxResults?: number }) =>
    rawRequest(
      await capture((handler) =>
        new EC2Client({ ...settings, requestHandler: handler as never }).send(
          new DescribeInstancesCommand(input),
        )
      ),
    );
  const gateway = cloud.node.config.ports.gateway;
  const plain = (bytes: number) =>
    new TextEncoder().encode(`GET /?bytes=${bytes} HTTP/1.1\r\nhost: localhost\r\n\r\n`);
  const cases = [
    {
      name: `all ${instances} instances, ${per_second} requests/s, p99`,
      count: instances,
      share: 0.99,
    },
    { name: "a page of 100 instances, p50", count: 100, share: 0.5 },
  ];
  const processes = processesOf(cloud, bare.port);
  for (const { name, count, share } of cases) {
    const request = await signed(count === instances ? {} : { MaxResults: count });
    const open = (port: number) =>
      Promise.all(Array.from({ length: 8 }, () => Connection.open(port, ca)));
    const [mine, theirs] = [await open(gateway), await open(bare.port)];
    const [[probe], [bareProbe]] = [mine, theirs];
    if (probe === undefined || bareProbe === undefined) throw new Error("no connection");
    const whole = await probe.exchange(request);
    const found = whole.text().split("<instanceId>").length - 1;
    if (found !== count) throw new Error(`${found} instances were answered, not ${count}`);
    const reference = plain(whole.bytes);
    const rate = { per_second, count: per_second * seconds };
    await arrivals(mine, request, { per_second, count: per_second });
    await arrivals(theirs, reference, { per_second, count: per_second });
    let best: { ours: number[]; bare: number[]; load: string | undefined } | undefined;
    for (let round = 0; round < rounds; round++) {
      const loaded = load();
      const ours = await arrivals(mine, request, rate);
      const run = { ours, bare: await arrivals(theirs, reference, rate), load: loaded };
      if (best === undefined || at(run.ours, share) < at(best.ours, share)) best = run;
    }
    const [ours, others] = [
      await processorTime(probe, request, processes),
      await processorTime(bareProbe, reference, processes),
    ];
    console.log(JSON.stringify({
      name: `processor time of ${count} instances in one answer`,
      ratio: ours / others,
      detail: `${ours.toFixed(1)} ms in all processes and the client; bare ${
        others.toFixed(1)
      } ms; ${whole.bytes} bytes, load ${load()}`,
    }));
    for (const connection of [...mine, ...theirs]) connection[Symbol.dispose]();
    if (best === undefined) throw new Error("nothing was measured");
    const text = (times: number[]) =>
      `p50 ${at(times, 0.5).toFixed(2)} ms, p99 ${at(times, 0.99).toFixed(2)} ms`;
    console.log(JSON.stringify({
      name,
      ratio: at(best.ours, share) / at(best.bare, share),
      detail: `${text(best.ours)}; bare ${
        text(best.bare)
      }; ${whole.bytes} bytes; best of ${rounds}, load ${best.load}`,
    }));
  }
}
