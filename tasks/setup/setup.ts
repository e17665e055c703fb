/**
 * Makes this machine able to run MulgaOS: looks what is missing, installs it where it may, checks
 * again. It says what it changes before it does: packages through apt, on Debian 12 a source file for
 * backports. Where it may not install, it prints the exact commands and stops.
 *
 * When nothing is missing it takes a fraction of a second and says nothing unless asked.
 */
import { taskCommand } from "../terminal/task_command.ts";
import { CommandError } from "../terminal/command.ts";
import { green, Progress, red, yellow } from "../terminal/progress.ts";
import { table } from "../terminal/table.ts";
import { repository } from "../stack/repository.ts";
import {
  atLeast,
  type Debian,
  debian,
  hasBackports,
  installedVersions,
  mirrorOf,
  run,
} from "./debian.ts";
import { type Finding, machineFindings } from "./machine.ts";
import { fetchNatsServer, goodNatsServer, natsSource } from "./nats_server.ts";
import { fromBackports, type PackageNeed, type PackageSet, packagesFor } from "./packages.ts";

export interface PackageState {
  readonly need: PackageNeed;
  readonly version?: string;
  /** Why it must be installed; undefined when all is well. */
  readonly missing?: "not installed" | "too old";
}

/** What stands and what is missing, of Debian's packages. */
async function packageStates(system: Debian, set: PackageSet): Promise<PackageState[]> {
  const needs = packagesFor(system, set);
  const versions = await installedVersions(needs.map((need) => need.name));
  return await Promise.all(needs.map(async (need): Promise<PackageState> => {
    const version = versions.get(need.name);
    if (version === undefined) return { need, missing: "not installed" };
    if (need.atLeast !== undefined && !await atLeast(version, need.atLeast)) {
      return { need, version, missing: "too old" };
    }
    return { need, version };
  }));
}

/** Installs what is missing for `set`. @throws CommandError when it may not or cannot */
export async function ensureMachine(set: PackageSet): Promise<void> {
  const system = await debian();
  const missing = (await packageStates(system, set)).filter((one) => one.missing !== undefined);
  if (missing.length > 0) await installPackages(missing.map((one) => one.need), system);
  if (await goodNatsServer() === undefined) {
    using progress = new Progress("Fetching nats-server");
    await fetchNatsServer(progress);
    progress.done(`${await goodNatsServer()} from Debian 13`);
  }
  await cacheModules();
}

/** npm's packages into Deno's cache, as the lock file names them: services start without a network. */
async function cacheModules(): Promise<void> {
  const { code, stderr } = await run([Deno.execPath(), "install", "--quiet"], { cwd: repository });
  if (code !== 0) {
    throw new CommandError(
      `The npm packages could not be fetched: ${stderr.trim().split("\n").at(-1)}\n` +
        `This needs the npm registry once; see \`deno install\`.`,
    );
  }
}

const backportsFile = "/etc/apt/sources.list.d/mulga-backports.sources";

async function backportsSource(): Promise<string> {
  return [
    "# Added by MulgaOS: newer QEMU and mkosi for Debian 12. Nothing is taken from here unasked.",
    "Types: deb",
    `URIs: ${await mirrorOf()}`,
    "Suites: bookworm-backports",
    "Components: main",
    "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
    "",
  ].join("\n");
}

/** How this process becomes root for a command: not at all, by sudo, or undefined: it may not. */
async function rootPrefix(): Promise<readonly string[] | undefined> {
  if (Deno.uid() === 0) return [];
  try {
    const { code } = await run(["sudo", "-n", "true"]);
    if (code === 0) return ["sudo", "-n"];
  } catch {
    // There is no sudo.
  }
  return undefined;
}

async function installPackages(needs: readonly PackageNeed[], system: Debian): Promise<void> {
  const backported = needs.filter((need) => fromBackports(need, system));
  const plain = needs.filter((need) => !fromBackports(need, system));
  const addSource = backported.length > 0 && !await hasBackports();
  const install = (names: readonly PackageNeed[], more: readonly string[]) => [
    ...["apt-get", "install", "--yes", "--no-install-recommends", ...more],
    ...names.map((need) => need.name),
  ];
  const commands = [
    ["apt-get", "update"],
    ...(plain.length > 0 ? [install(plain, [])] : []),
    ...(backported.length > 0 ? [install(backported, ["-t", "bookworm-backports"])] : []),
  ];
  const list = needs.map((need) => `${need.name} (${need.reason})`).join(", ");
  const prefix = await rootPrefix();
  if (prefix === undefined) {
    const source = addSource
      ? `  sudo tee ${backportsFile} <<'END'\n${await backportsSource()}END\n`
      : "";
    throw new CommandError(
      `Debian packages are missing and this user may not install them: ${list}.\n` +
        `Run this, then try again:\n${source}${
          commands.map((command) => `  sudo ${command.join(" ")}`).join("\n")
        }`,
    );
  }
  console.error(`Missing on this machine: ${list}.`);
  if (addSource) {
    console.error(`Adding Debian's backports as a package source: ${backportsFile}`);
    await writeAsRoot(prefix, backportsFile, await backportsSource());
  }
  using progress = new Progress(
    `Installing ${needs.length} Debian package${needs.length === 1 ? "" : "s"}`,
  );
  for (const command of commands) {
    const options = [
      ...["-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"],
      ...["-o", "Dpkg::Options::=--force-confold", "-o", "Dpkg::Use-Pty=0"],
    ];
    const full = [
      ...prefix,
      ...["env", "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive"],
      command[0] ?? "",
      ...options,
      ...command.slice(1),
    ];
    const { code, stdout, stderr } = await run(full, {
      onLine: (line) => {
        const step = /^(Get:\d+|Unpacking|Setting up|Processing)\b(.*)/.exec(line);
        if (step !== null) {
          progress.update(
            step[1]?.startsWith("Get:")
              ? `downloading ${line.split(" ").slice(4, 5).join("")}`
              : `${step[1]}${step[2]?.replace(/ \(.*| \.\.\.$/g, "")}`,
          );
        }
      },
    });
    // A source that is down need not matter when the packages come from another.
    if (code !== 0 && command[1] !== "update") {
      progress.fail("apt failed");
      throw new CommandError(
        `apt failed: ${(stderr.trim() || stdout.trim()).split("\n").slice(-6).join("\n")}\n` +
          `The command was: ${command.join(" ")}`,
      );
    }
  }
  const still = (await packageStates(system, "tests"))
    .filter((one) =>
      one.missing !== undefined && needs.some((need) => need.name === one.need.name)
    );
  if (still.length > 0) {
    progress.fail("not all became what was asked");
    throw new CommandError(
      `After the installation these are still ${still[0]?.missing}: ${
        still.map((one) =>
          `${one.need.name}${one.version === undefined ? "" : ` ${one.version}`} (wanted ${
            one.need.atLeast ?? "any"
          })`
        ).join(", ")
      }. See \`apt-cache policy ${still[0]?.need.name}\`.`,
    );
  }
  progress.done();
}

async function writeAsRoot(
  prefix: readonly string[],
  path: string,
  content: string,
): Promise<void> {
  if (prefix.length === 0) return await Deno.writeTextFile(path, content, { mode: 0o644 });
  const [program, ...args] = [...prefix, "tee", path];
  const child = new Deno.Command(program ?? "", { args, stdin: "piped", stdout: "null" }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(content));
  await writer.close();
  if (!(await child.status).success) throw new CommandError(`${path} could not be written.`);
}

/** Packages and programs as findings. */
export async function softwareFindings(set: PackageSet): Promise<Finding[]> {
  const system = await debian();
  const findings: Finding[] = [{ what: "System", state: "ok", detail: system.description }];
  for (const { need, version, missing } of await packageStates(system, set)) {
    const origin = fromBackports(need, system) ? ", from backports" : "";
    findings.push(
      missing === undefined
        ? { what: need.name, state: "ok", detail: `${version} (${need.reason}${origin})` }
        : {
          what: need.name,
          state: "bad",
          detail: `${missing}${version === undefined ? "" : `: ${version}`}${
            need.atLeast === undefined ? "" : `, wanted ${need.atLeast} or newer`
          } (${need.reason}${origin})`,
          advice: `${taskCommand()} setup`,
        },
    );
  }
  const nats = await goodNatsServer();
  findings.push(
    nats === undefined
      ? {
        what: "nats-server",
        state: "bad",
        detail: "missing or too old",
        advice: `${taskCommand()} setup`,
      }
      : { what: "nats-server", state: "ok", detail: `${nats} (bus and state; ${natsSource})` },
  );
  return findings;
}

/** The findings as a table, the advice under what is not well. */
export function findingsTable(findings: readonly Finding[]): string {
  const mark = { ok: green("✓"), warn: yellow("!"), bad: red("✗") } as const;
  return table(
    ["", "", ""],
    findings.map((one) => [
      mark[one.state],
      one.what,
      `${one.detail}${one.advice === undefined || one.state === "ok" ? "" : ` → ${one.advice}`}`,
    ]),
  ).trimStart();
}

/** The whole of `setup`: installs, then shows everything. @returns the exit code */
export async function setup(
  set: PackageSet,
  dataDir: string,
  options: { readonly check: boolean; readonly json: boolean },
): Promise<number> {
  if (!options.check) await ensureMachine(set);
  const findings = [
    ...await softwareFindings(set),
    ...await machineFindings(dataDir, { fresh: options.check }),
  ];
  if (options.json) console.log(JSON.stringify(findings, null, 2));
  else console.log(findingsTable(findings));
  return findings.some((one) => one.state === "bad") ? 1 : 0;
}
