/**
 * `up`: from whatever there is to a cloud that answers. Each part looks first whether it is done:
 * this machine set up, the node made, the services running, an image there, a profile written.
 *
 * The supervisor is a process of its own in a session of its own: it outlives this command and the
 * terminal. When something does not come up, the command says which service and its last error, and
 * leaves the rest running for a look.
 */
import { taskCommand } from "../terminal/task_command.ts";
import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { stampForward } from "../../services/config/formats.ts";
import { type NodeConfig, type Paths, pathsOf } from "../../services/config/node_config.ts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { dataDirOf, defaultDataDir, requireUsableName } from "../init/data_dir.ts";
import { initNode, type InitOptions } from "../init/init.ts";
import { portNames, requirePorts } from "../init/ports.ts";
import { writeWhole } from "../init/write_file.ts";
import { ensureMachine } from "../setup/setup.ts";
import { placeNatsServer } from "../setup/nats_server.ts";
import { type NodeStatus, statusOf } from "../supervisor/control.ts";
import { operatorBus } from "../supervisor/health_probe.ts";
import { endLeftovers } from "../supervisor/supervisor.ts";
import { CommandError } from "../terminal/command.ts";
import { bold, Progress } from "../terminal/progress.ts";
import { userHasProfile, writeNodeProfile, writeUserProfile } from "./aws_profile.ts";
import { apiAnswers, endpointOf } from "./endpoint.ts";
import { ensureFirstImage } from "./first_image.ts";
import { quietLog } from "./quiet_log.ts";
import { repository } from "./repository.ts";

export interface StartOptions extends InitOptions {
  readonly dataDir?: string;
  readonly image: boolean;
  readonly setup: boolean;
}

const startPatience_ms = 120_000;

/** Sets the machine up, makes the node and places its programs: all that is done before a start. */
export async function prepare(
  options: StartOptions,
): Promise<{ config: NodeConfig; paths: Paths; running: NodeStatus | undefined }> {
  const dataDir = dataDirOf(options.dataDir);
  requireUsableName(dataDir);
  if (options.setup) await ensureMachine("run");
  const paths = pathsOf(dataDir);
  await Deno.mkdir(paths.run, { recursive: true, mode: 0o700 });
  // Two commands at once make one node: the second waits for the first and finds it made.
  using gate = await Deno.open(join(paths.run, "up.lock"), { create: true, write: true });
  await gate.lock(true);
  const running = await statusOf(paths);
  if (running !== undefined) {
    const { config } = await initNode(dataDir, {});
    const wanted = options.ports ?? {};
    for (const name of portNames) {
      if (wanted[name] !== undefined && wanted[name] !== config.ports[name]) {
        throw new CommandError(
          `MulgaOS is already running from ${dataDir} with port ${config.ports[name]} (${name}); ` +
            `stop it with \`${taskCommand()} down\` before changing ports.`,
        );
      }
    }
    return { config, paths, running };
  }
  const { config } = await initNode(dataDir, options);
  await placeNatsServer(paths);
  await endLeftovers(paths, quietLog, (text) => console.error(text));
  requirePorts(config);
  return { config, paths, running: undefined };
}

/** The whole of `up`, in the background. */
export async function start(options: StartOptions): Promise<number> {
  const started = performance.now();
  const { config, paths, running } = await prepare(options);
  if (running === undefined) {
    await startSupervisor(config, paths);
  } else {
    console.log(`MulgaOS is already running from ${paths.root} (process ${running.pid}).`);
  }
  using progress = new Progress(running === undefined ? "Starting the services" : "Checking them");
  await waitUntilUp(config, paths, progress);
  progress.done(`the API answers on ${endpointOf(config)}`);
  // Only what has come up may carry the state to its own formats: an older release refuses it from then on.
  await stampForward(config.data_dir);
  const seconds = ((performance.now() - started) / 1_000).toFixed(1);
  const profiled = await writeProfiles(config, paths, options);
  const image = options.image ? await ensureFirstImage(config, paths) : undefined;
  sayWhatNext(config, paths, profiled, image, seconds);
  return 0;
}

async function startSupervisor(config: NodeConfig, paths: Paths): Promise<void> {
  const words = join(paths.logs, "supervisor.out");
  await writeWhole(words, "", 0o600);
  const out = openSync(words, "a");
  const child = spawn(
    Deno.execPath(),
    [
      "run",
      "-A",
      "--cached-only",
      "--quiet",
      "--config",
      join(repository, "deno.json"),
      join(repository, "tasks/supervisor/main.ts"),
      config.data_dir,
    ],
    {
      cwd: config.data_dir,
      detached: true,
      stdio: ["ignore", out, out],
      env: { ...Deno.env.toObject(), MULGA_DATA_DIR: config.data_dir, NO_COLOR: "1" },
    },
  );
  closeSync(out);
  let ended: number | null | undefined;
  child.on("exit", (code) => ended = code);
  child.on("error", () => ended = -1);
  child.unref();
  const limit = performance.now() + 20_000;
  while (await statusOf(paths) === undefined) {
    // 3: another supervisor was quicker; its node is as good.
    if (ended !== undefined && ended !== 3) {
      const said = (await Deno.readTextFile(words)).trim();
      throw new CommandError(
        `The supervisor did not start${said === "" ? "" : `: ${said.slice(-2_000)}`} ` +
          `See ${join(paths.logs, "supervisor.log")}.`,
      );
    }
    if (performance.now() > limit) {
      throw new CommandError(`The supervisor does not answer; see ${paths.logs}/supervisor.log.`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Waits until every service is well and the API answers. @throws CommandError that says what is not */
async function waitUntilUp(
  config: NodeConfig,
  paths: Paths,
  progress: Progress,
): Promise<void> {
  const limit = performance.now() + startPatience_ms;
  for (;;) {
    const status = await statusOf(paths);
    if (status === undefined) {
      throw new CommandError(`The supervisor ended; see ${paths.logs}/supervisor.log.`);
    }
    if (status.stopping) {
      throw new CommandError("The node is being stopped; start it again when that is done.");
    }
    const waiting = status.services.filter((one) => one.state !== "ok" && one.state !== "degraded");
    if (waiting.length === 0 && await apiAnswers(config, paths)) return;
    // A service that has failed a dozen times in a row will not come up by waiting.
    const hopeless = waiting.find((one) => one.restarts >= 6 && one.state === "restarting");
    if (hopeless !== undefined || performance.now() > limit) {
      const which = hopeless === undefined ? waiting : [hopeless];
      if (which.length === 0) {
        throw new CommandError(
          `The services are well, but ${endpointOf(config)}/health does not answer. See ` +
            `\`${taskCommand()} logs gateway\`; \`${taskCommand()} down\` stops it.`,
        );
      }
      throw new CommandError(
        which.map((one) =>
          `${one.name} does not come up${
            one.last_error === undefined ? ` (${one.state})` : `: ${one.last_error}`
          }`
        ).join("\n") +
          `\nThe rest is left running. See \`${taskCommand()} logs ${
            which.map((one) => one.name).join(" ")
          }` +
          `\`; \`${taskCommand()} down\` stops it.`,
      );
    }
    progress.update(
      waiting.length === 0 ? "the gateway" : waiting.map((one) => one.name).join(", "),
    );
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Writes the profiles. @returns how the user reaches them */
export async function writeProfiles(
  config: NodeConfig,
  paths: Paths,
  options: StartOptions,
): Promise<{ readonly user: boolean }> {
  await using bus = await operatorBus(config, paths, quietLog);
  const credentials = await bus.ask(adminCredentials, null);
  await writeNodeProfile(config, paths, credentials);
  const wanted = options.profile !== undefined || paths.root === defaultDataDir() ||
    await userHasProfile(config);
  if (!wanted) return { user: false };
  try {
    await writeUserProfile(config, paths, credentials);
    return { user: true };
  } catch (error) {
    if (!(error instanceof CommandError) || options.profile !== undefined) throw error;
    console.error(error.message);
    return { user: false };
  }
}

function sayWhatNext(
  config: NodeConfig,
  paths: Paths,
  profiled: { readonly user: boolean },
  image: string | undefined,
  seconds: string,
): void {
  const task = taskCommand();
  const at = paths.root === defaultDataDir() ? "" : ` --data-dir ${paths.root}`;
  console.log(`
${bold("MulgaOS is up")} after ${seconds} s: ${endpointOf(config)}  (console: ${
    endpointOf(config)
  }/console)

  eval "$(${task} -q hive env${at})"        # any AWS client in this shell${
    profiled.user ? `\n  aws --profile ${config.profile} sts get-caller-identity` : ""
  }
  aws ec2 create-key-pair --key-name me --query KeyMaterial --output text > me.pem && chmod 600 me.pem
  aws ec2 run-instances --image-id ${image ?? "ami-…"} --instance-type t3.micro --key-name me
  ${task} hive ssh${at} i-… -i me.pem

  ${task} hive console-link${at}          # signs a browser in to the console
  ${task} status${at}   ${task} logs${at} -f   ${task} down${at}`);
}
