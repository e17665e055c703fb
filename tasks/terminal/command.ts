/**
 * What every command of the operator has in common: options described once (so that `--help` cannot
 * lie about them), errors as one sentence with what to do, and exit codes: 0 done, 1 failed, 2 not
 * understood, 130 interrupted.
 */
import { parseArgs } from "node:util";
import { isDiskFull } from "../init/write_file.ts";

/** Something the operator can act on. Printed without a stack; anything else is our own fault. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  constructor(message: string, readonly exitCode = 1, options?: ErrorOptions) {
    super(message, options);
  }
}

export interface OptionSpec {
  readonly type: "string" | "boolean";
  readonly short?: string;
  readonly multiple?: boolean;
  /** Shown in help: what the value is. */
  readonly value?: string;
  readonly help: string;
}

type OptionSpecs = Readonly<Record<string, OptionSpec>>;

type ValueOf<S extends OptionSpec> = S["type"] extends "boolean" ? boolean
  : S["multiple"] extends true ? string[]
  : string;

export interface Parsed<S extends OptionSpecs> {
  readonly options: { readonly [K in keyof S]?: ValueOf<S[K]> };
  readonly positionals: readonly string[];
  /** What came after `--`. */
  readonly rest: readonly string[];
}

export interface CommandSpec<S extends OptionSpecs> {
  /** As typed: `deno task up`, `hive ssh`. */
  readonly name: string;
  readonly summary: string;
  /** Positional arguments as help shows them, for example `<instance-id> [-- command…]`. */
  readonly arguments?: string;
  readonly options: S;
  /** Further paragraphs of help. */
  readonly notes?: readonly string[];
}

/** The option that almost every command has. */
export const dataDirOption = {
  "data-dir": {
    type: "string",
    value: "DIR",
    help: "The node's data directory (default: $MULGA_DATA_DIR, else ~/.local/share/mulga)",
  },
} as const;

export const jsonOption = {
  json: { type: "boolean", help: "Print JSON for programs instead of a table" },
} as const;

/** The help text of a command. */
function helpOf(spec: CommandSpec<OptionSpecs>): string {
  const rows = Object.entries({ ...spec.options, ...helpOption } as OptionSpecs).map((
    [name, option],
  ) => [
    `${option.short ? `-${option.short}, ` : "    "}--${name}${
      option.value ? ` ${option.value}` : ""
    }`,
    option.help,
  ]);
  const width = Math.max(...rows.map(([left]) => left?.length ?? 0));
  return [
    spec.summary,
    "",
    `Usage: ${spec.name}${spec.arguments ? ` ${spec.arguments}` : ""} [options]`,
    "",
    ...rows.map(([left, help]) => `  ${left?.padEnd(width)}  ${help}`),
    ...(spec.notes ?? []).flatMap((note) => ["", note]),
  ].join("\n");
}

const helpOption = {
  help: { type: "boolean", short: "h", help: "Show this help" },
} as const;

/**
 * Reads the command line.
 * @returns undefined when help was asked for (and printed)
 * @throws CommandError (exit code 2) for what the command does not know
 */
export function parse<const S extends OptionSpecs>(
  spec: CommandSpec<S>,
  args: readonly string[],
  positionals: { readonly min?: number; readonly max?: number } = {},
): Parsed<S> | undefined {
  const split = args.indexOf("--");
  const own = split < 0 ? [...args] : args.slice(0, split);
  const rest = split < 0 ? [] : args.slice(split + 1);
  let found: { values: Record<string, unknown>; positionals: string[] };
  try {
    found = parseArgs({
      args: own,
      options: Object.fromEntries(
        Object.entries({ ...spec.options, ...helpOption } as OptionSpecs).map((
          [name, { type, short, multiple }],
        ) => [name, {
          type,
          ...(short === undefined ? {} : { short }),
          ...(multiple === undefined ? {} : { multiple }),
        }]),
      ),
      allowPositionals: true,
    });
  } catch (cause) {
    const what = cause instanceof Error ? cause.message.split(/[.\n]/)[0] : String(cause);
    throw new CommandError(`${what}. See \`${spec.name} --help\`.`, 2, { cause });
  }
  if (found.values["help"] === true) {
    console.log(helpOf(spec));
    return undefined;
  }
  const { min = 0, max = min } = positionals;
  if (found.positionals.length < min || found.positionals.length > max) {
    const what = found.positionals.length < min
      ? "An argument is missing"
      : `"${found.positionals[max]}" is not expected`;
    throw new CommandError(
      `${what}. Usage: ${spec.name}${spec.arguments ? ` ${spec.arguments}` : ""}; see --help.`,
      2,
    );
  }
  return {
    options: found.values as Parsed<S>["options"],
    positionals: found.positionals,
    rest,
  };
}

/** A port number from the command line. @throws CommandError */
export function portOption(name: string, value: string): number {
  const port = Number(value);
  if (!/^\d+$/.test(value) || port < 1 || port > 65535) {
    throw new CommandError(`--${name} must be a port number from 1 to 65535, not "${value}".`, 2);
  }
  return port;
}

/** Runs a command to its exit code. */
export async function runCommand(work: () => Promise<number | void>): Promise<never> {
  try {
    Deno.exit(await work() ?? 0);
  } catch (error) {
    if (error instanceof CommandError || isSpoken(error)) {
      console.error(error.message);
      Deno.exit(error instanceof CommandError ? error.exitCode : 1);
    }
    if (error instanceof Deno.errors.PermissionDenied) {
      console.error(`${error.message}. Run this with sudo, or as the user whose node it is.`);
      Deno.exit(1);
    }
    if (isDiskFull(error)) {
      console.error(`There is no room left: ${error.message}. Make some, and run this again.`);
      Deno.exit(1);
    }
    console.error(error);
    console.error("This is a fault of MulgaOS itself; please report it with the lines above.");
    Deno.exit(1);
  }
}

/** Errors of other folders whose message is already a sentence for the operator. */
const spoken: ReadonlySet<string> = new Set([
  "ConfigError",
  "AwsError",
  "ImageBuildError",
  "ArchiveError",
  "PayloadError",
  "UnknownAccount",
  "SeedError",
  "SignatureError",
  "StateTooNew",
]);

function isSpoken(error: unknown): error is Error {
  return error instanceof Error && spoken.has(error.name);
}
