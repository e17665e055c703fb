/**
 * The command line and environment of a service, from its entry in the service table: exactly the
 * Deno permissions that stand there and nothing of the caller's environment that it was not given.
 */
import { resolve } from "node:path";
import type { NodeConfig } from "../../services/config/node_config.ts";
import type { DenoPermissions, ServiceSpec } from "../../services/manifest.ts";

export interface CommandContext {
  readonly config: NodeConfig;
  /** The checkout. */
  readonly repository: string;
}

export interface ServiceCommand {
  readonly program: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** What the table's templates stand for. */
export type TemplateValues = Readonly<
  Record<"data" | "repo" | "bind" | "gateway" | "s3" | "nats", string>
>;

/** The values of a node that is known. */
export function templateValues({ config, repository }: CommandContext): TemplateValues {
  return {
    data: config.data_dir,
    repo: repository,
    bind: config.bind.includes(":") ? `[${config.bind}]` : config.bind,
    gateway: String(config.ports.gateway),
    s3: String(config.ports.s3),
    nats: String(config.ports.nats),
  };
}

/** Fills `{data}`, `{repo}`, `{bind}`, `{gateway}`, `{s3}` and `{nats}`. @throws RangeError */
export function fillTemplate(text: string, values: TemplateValues): string {
  return text.replaceAll(/\{(\w+)\}/g, (whole, name: string) => {
    const value = (values as Readonly<Record<string, string>>)[name];
    if (value === undefined) throw new RangeError(`unknown template ${whole} in "${text}"`);
    return value;
  });
}

/** V8's flags for the memory that a service is given. */
export function memoryFlags({ new_space_mib }: ServiceSpec): string[] {
  return new_space_mib === undefined ? [] : [`--max-semi-space-size=${new_space_mib}`];
}

/**
 * How the C library copies where data is moved: glibc 2.36 (Debian 12) copies from 2 KiB on by `rep movsb`, which AMD's
 * Zen 3 and 4 do at 1.5 GB/s instead of 75 where the target is not aligned. A request whose headers have an odd length puts
 * all of its body to such places. Newer versions choose by the processor; other processors lose nothing.
 */
export const quickCopies = { GLIBC_TUNABLES: "glibc.cpu.x86_rep_movsb_threshold=1073741824" };

/** Deno's flags for a set of permissions; what is not granted is refused without a question. */
export function permissionFlags(
  permissions: DenoPermissions,
  values: TemplateValues,
): string[] {
  const flag = (name: string, allowed: readonly string[] | "any" | undefined): string[] => {
    if (allowed === undefined || allowed.length === 0) return [];
    if (allowed === "any" || allowed.includes("any")) return [`--allow-${name}`];
    // A comma separates entries; one inside an entry is doubled.
    const entries = allowed.map((one) => fillTemplate(one, values).replaceAll(",", ",,"));
    return [`--allow-${name}=${entries.join(",")}`];
  };
  return [
    ...flag("net", permissions.net),
    ...flag("read", permissions.read),
    ...flag("write", permissions.write),
    ...flag("env", permissions.env),
    ...flag("run", permissions.run),
    ...flag("sys", permissions.sys),
    ...(permissions.ffi === true ? ["--allow-ffi"] : []),
  ];
}

/** What a service inherits: where programs and Deno's cache are, and nothing else. */
const inherited = ["PATH", "HOME", "DENO_DIR", "XDG_CACHE_HOME", "TZ", "MULGA_LOG"];

export function serviceCommand(spec: ServiceSpec, context: CommandContext): ServiceCommand {
  const values = templateValues(context);
  const env: Record<string, string> = {
    MULGA_DATA_DIR: context.config.data_dir,
    NO_COLOR: "1",
    DENO_NO_UPDATE_CHECK: "1",
    DENO_NO_PROMPT: "1",
    ...(spec.movesData === true ? quickCopies : {}),
  };
  for (const name of inherited) {
    const value = Deno.env.get(name);
    if (value !== undefined) env[name] = value;
  }
  if (typeof spec.entry !== "string") {
    return {
      program: fillTemplate(spec.entry.program, values),
      args: spec.entry.args.map((argument) => fillTemplate(argument, values)),
      env,
    };
  }
  const v8 = memoryFlags(spec);
  return {
    program: Deno.execPath(),
    args: [
      "run",
      "--cached-only",
      "--no-prompt",
      "--quiet",
      "--config",
      resolve(context.repository, "deno.json"),
      ...(spec.unstable ?? []).map((feature) => `--unstable-${feature}`),
      ...(v8.length === 0 ? [] : [`--v8-flags=${v8.join(",")}`]),
      ...permissionFlags(spec.permissions, values),
      resolve(context.repository, spec.entry),
    ],
    env,
  };
}
