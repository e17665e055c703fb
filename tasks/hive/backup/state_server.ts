/**
 * A nats-server over the node's state when the node itself does not run: on a free port of the loopback, for
 * one key that lives as long as this process. It ends with its user, even when that is killed.
 */
import { createUser } from "@nats-io/nkeys";
import { connect, type NatsConnection, nkeyAuthenticator } from "@nats-io/transport-node";
import { join } from "node:path";
import type { Paths } from "../../../services/config/node_config.ts";
import { exists } from "../../init/write_file.ts";
import { freePorts } from "../../../services/config/free_ports.ts";
import { natsGreets } from "../../supervisor/health_probe.ts";
import { CommandError } from "../../terminal/command.ts";

const programs = ["/usr/lib/mulga/nats-server", "/usr/bin/nats-server", "/usr/sbin/nats-server"];

async function natsProgram(paths: Paths): Promise<string> {
  for (const path of [join(paths.bin, "nats-server"), ...programs]) {
    if (await exists(path)) return path;
  }
  throw new CommandError("There is no nats-server here; `deno task setup` brings it.");
}

export interface StateServer extends AsyncDisposable {
  readonly nats: NatsConnection;
}

/** @throws CommandError when it does not start */
export async function startStateServer(paths: Paths, storeDir: string): Promise<StateServer> {
  const program = await natsProgram(paths);
  const directory = await Deno.makeTempDir({ prefix: "mulga-state-" });
  const key = createUser();
  const [port = 0] = freePorts(1);
  const log = join(directory, "nats.log");
  await Deno.writeTextFile(
    join(directory, "nats.conf"),
    `listen: "127.0.0.1:${port}"
max_payload: 8MB
jetstream { store_dir: ${JSON.stringify(storeDir)}, sync_interval: always }
authorization { users: [ { nkey: ${JSON.stringify(key.getPublicKey())} } ] }
`,
    { mode: 0o600 },
  );
  // The kernel ends it with this process, however that ends: the node's own server must find its store alone.
  const child = new Deno.Command("setpriv", {
    args: ["--pdeathsig", "KILL", program, "-c", join(directory, "nats.conf"), "-l", log],
    stdin: "null",
    stdout: "null",
    stderr: "null",
  }).spawn();
  let ended = false;
  const status = child.status.then(() => ended = true);
  const stop = async () => {
    try {
      child.kill("SIGTERM");
    } catch {
      // It has ended already.
    }
    await status;
    await Deno.remove(directory, { recursive: true });
  };
  const limit = performance.now() + 20_000;
  while (!await natsGreets(port)) {
    if (ended || performance.now() > limit) {
      const said = (await Deno.readTextFile(log).catch(() => "")).trim().split("\n").at(-1) ?? "";
      await stop();
      throw new CommandError(`The state store did not start: ${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const nats = await connect({
    servers: `nats://127.0.0.1:${port}`,
    authenticator: nkeyAuthenticator(key.getSeed()),
    maxReconnectAttempts: 0,
  });
  // It greets before its store is ready.
  while (true) {
    const reply = await nats.request("$JS.API.INFO", "", { timeout: 1_000 }).catch(() => undefined);
    if (reply !== undefined && !/"error"/.test(reply.string())) break;
    if (ended || performance.now() > limit) {
      await nats.close();
      await stop();
      throw new CommandError("The state store did not open its files.");
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    nats,
    async [Symbol.asyncDispose]() {
      await nats.close();
      await stop();
    },
  };
}
