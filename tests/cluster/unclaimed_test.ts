/**
 * Three boxes that nobody has claimed on one network, each the real service with the permissions that
 * the table gives it: they hear each other, one is claimed over HTTPS from another, and it follows a
 * change of its addresses.
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import { claimFiles } from "../../services/cluster/claim_files.ts";
import { screenPipe } from "../../services/cluster/screen.ts";
import { defaultPorts, type NodeConfig, pathsOf } from "../../services/config/node_config.ts";
import { serviceNamed } from "../../services/manifest.ts";
import { ensureServerCertificate } from "../../tasks/init/certificates.ts";
import { exists } from "../../tasks/init/write_file.ts";
import { serviceCommand } from "../../tasks/supervisor/service_command.ts";
import { until } from "../kit/until.ts";
import { startNetwork, type TestNetwork } from "./namespaces.ts";

const repository = new URL("../..", import.meta.url).pathname;

interface Line {
  readonly event: string;
  readonly node_id?: string;
  readonly error?: string;
}

async function startBox(network: TestNetwork, machine: number, directory: string) {
  const node_id = `n-${machine + 1}`;
  const paths = pathsOf(join(directory, node_id));
  const files = claimFiles(paths);
  await Deno.mkdir(paths.service("cluster"), { recursive: true });
  await Deno.mkdir(join(paths.root, "tls"));
  await Deno.writeTextFile(files.box, JSON.stringify({ version: 1, node_id }));
  await ensureServerCertificate(paths, paths.tls.control, [
    "localhost",
    network.addressOf(machine),
  ]);
  const config = {
    data_dir: paths.root,
    bind: "0.0.0.0",
    ports: defaultPorts,
  } as unknown as NodeConfig;
  const { program, args, env } = serviceCommand(serviceNamed("cluster"), { config, repository });
  const child = network.command(machine, program, {
    args: [...args],
    env: { ...env },
    clearEnv: true,
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const lines: Line[] = [];
  void (async () => {
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      const parts = (rest + text).split("\n");
      rest = parts.pop() ?? "";
      for (const part of parts) {
        try {
          lines.push(JSON.parse(part));
        } catch {
          lines.push({ event: part });
        }
      }
    }
  })();
  return {
    node_id,
    paths,
    files,
    lines,
    heard: () =>
      new Set(lines.filter((one) => one.event === "peer_heard").map((one) => one.node_id)),
    async said(event: string) {
      return await until(
        `${event} of ${node_id}: ${JSON.stringify(lines.slice(-3))}`,
        () => lines.find((one) => one.event === event),
      );
    },
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}

async function curl(network: TestNetwork, machine: number, ...args: string[]) {
  const { stdout, stderr, code } = await network.command(machine, "curl", {
    args: ["--silent", "--show-error", "--max-time", "20", ...args],
  }).output();
  return { code, out: new TextDecoder().decode(stdout), error: new TextDecoder().decode(stderr) };
}

Deno.test({
  name: "three unclaimed boxes hear each other, and one is claimed over the network, once",
  // Network namespaces are root's.
  ignore: Deno.uid() !== 0,
  async fn() {
    assert.ok(!await exists(screenPipe), "this machine has no screen of ours");
    const directory = await Deno.makeTempDir({ prefix: "mulga-boxes-" });
    try {
      await using network = await startNetwork(3);
      await using one = await startBox(network, 0, directory);
      await using two = await startBox(network, 1, directory);
      await using three = await startBox(network, 2, directory);
      const boxes = [one, two, three];
      for (const box of boxes) await box.said("service_ready");
      await until(
        "each hears the other two",
        () => boxes.every((box) => box.heard().size === 2) ? true : undefined,
      );
      assert.deepEqual([...one.heard()].sort(), ["n-2", "n-3"]);

      // Claimed from the second box, which trusts the first one's authority alone.
      const code = JSON.parse(await Deno.readTextFile(one.files.code)).code;
      const at = `https://${network.addressOf(0)}:8443`;
      const trust = ["--cacert", one.paths.tls.ca];
      const status = await curl(network, 1, ...trust, `${at}/status`);
      assert.equal(JSON.parse(status.out).state, "unclaimed", status.error);
      const wrong = await curl(network, 1, ...trust, `${at}/claim`, "-d", "code=2222-2222");
      assert.match(JSON.parse(wrong.out).error, /not the code/);
      const right = await curl(
        network,
        1,
        ...trust,
        `${at}/claim`,
        "-d",
        `code=${code}&region=eu-north-1`,
      );
      const claimed = JSON.parse(right.out);
      assert.equal(claimed.az, "eu-north-1a", `${right.out} ${JSON.stringify(one.lines.at(-1))}`);
      const claim = JSON.parse(await Deno.readTextFile(one.files.claim));
      assert.equal(claim.admin.secret_access_key, claimed.secret_access_key);
      const again = await curl(network, 2, ...trust, `${at}/claim`, "-d", `code=${code}`);
      assert.match(JSON.parse(again.out).error, /claimed already/);

      // A new address: said to the others, and asked to be put into the certificate.
      await network.addAddress(1, "10.77.0.22/24");
      await until(
        "a certificate is asked for",
        async () => await exists(two.files.certificateWanted) ? true : undefined,
      );
      assert.equal(await Deno.readTextFile(two.files.certificateWanted), "10.77.0.22\n");
      assert.ok(!await exists(one.files.certificateWanted));
    } finally {
      await Deno.remove(directory, { recursive: true });
    }
  },
});
