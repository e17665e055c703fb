/**
 * The data directory: where it is, and whether it can serve. Unix sockets live below it, and a
 * socket's path may have 107 bytes; settings of NATS and QEMU carry its name and have no way to say
 * some characters. Both are refused before anything is made.
 */
import { isAbsolute, join, resolve } from "node:path";
import { pathsOf } from "../../services/config/node_config.ts";
import { CommandError } from "../terminal/command.ts";

const socketPathLimit_bytes = 107;
/** Longest name below `run/`: an instance id with a suffix such as `.console`, and some room. */
const longestSocketName = "machines/i-0123456789abcdef0.console-in";

/** The default data directory of this user. */
export function defaultDataDir(): string {
  const base = Deno.env.get("XDG_DATA_HOME");
  if (base !== undefined && isAbsolute(base)) return join(base, "mulga");
  const home = Deno.env.get("HOME");
  if (home === undefined || home === "") {
    throw new CommandError("HOME is not set; say where the data shall live with --data-dir DIR.");
  }
  return join(home, ".local", "share", "mulga");
}

/** The data directory that a command means. */
export function dataDirOf(option: string | undefined): string {
  const named = option ?? Deno.env.get("MULGA_DATA_DIR");
  return named === undefined || named === "" ? defaultDataDir() : resolve(named);
}

/** Refuses a directory whose name cannot serve. @throws CommandError */
export function requireUsableName(dataDir: string): void {
  // deno-lint-ignore no-control-regex
  const strange = /[",\\:\x00-\x1f]/.exec(dataDir);
  if (strange !== null) {
    throw new CommandError(
      `The data directory's name may not contain ${JSON.stringify(strange[0])}: "${dataDir}". ` +
        `Choose another with --data-dir DIR.`,
    );
  }
  const longest = join(pathsOf(dataDir).run, longestSocketName);
  const length = new TextEncoder().encode(longest).length;
  if (length > socketPathLimit_bytes) {
    throw new CommandError(
      `The data directory's path is ${
        length - socketPathLimit_bytes
      } bytes too long for the Unix ` +
        `sockets below it (a socket's path has at most ${socketPathLimit_bytes}): "${dataDir}". ` +
        `Choose a shorter one with --data-dir DIR.`,
    );
  }
}
