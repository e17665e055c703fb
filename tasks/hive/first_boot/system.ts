/**
 * The system that is set up: its files below a root directory, and its running part, where there is
 * one. With a root that is not `/` only files are written.
 */
import { dirname, join } from "node:path";
import { exists, removeWhole, writeWhole } from "../../init/write_file.ts";
import { textIfThere } from "../../../services/config/missing_files.ts";

export class System {
  /** Whether this is the running system, and not a tree of files. */
  readonly live: boolean;

  constructor(readonly root: string, readonly say: (text: string) => void = console.error) {
    this.live = root === "/";
  }

  path(absolute: string): string {
    return join(this.root, absolute);
  }

  async read(absolute: string): Promise<string | undefined> {
    return await textIfThere(this.path(absolute));
  }

  /** Writes a file that is whole or as before. @returns whether anything changed */
  async write(absolute: string, content: string, mode = 0o644): Promise<boolean> {
    if (await this.read(absolute) === content) return false;
    const path = this.path(absolute);
    await Deno.mkdir(dirname(path), { recursive: true });
    await writeWhole(path, content, mode);
    // What a process may create is cut by its umask; these modes are meant.
    await Deno.chmod(path, mode);
    return true;
  }

  async remove(absolute: string): Promise<boolean> {
    if (!await exists(this.path(absolute))) return false;
    await removeWhole(this.path(absolute));
    return true;
  }

  async link(absolute: string, target: string): Promise<boolean> {
    const path = this.path(absolute);
    if (await exists(path)) return false;
    await Deno.mkdir(dirname(path), { recursive: true });
    await Deno.symlink(target, path);
    return true;
  }

  /** Names in a directory; none when it is not there. */
  async list(absolute: string): Promise<string[]> {
    try {
      return (await Array.fromAsync(Deno.readDir(this.path(absolute)))).map(({ name }) => name)
        .sort();
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  }

  /** Runs a program of the running system. What fails is said and holds nothing up. */
  async run(program: string, ...args: string[]): Promise<boolean> {
    if (!this.live) return true;
    try {
      const { success, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
      if (!success) {
        this.say(`${program} ${args.join(" ")} failed: ${new TextDecoder().decode(stderr).trim()}`);
      }
      return success;
    } catch (error) {
      this.say(`${program} cannot be run: ${error instanceof Error ? error.message : error}`);
      return false;
    }
  }
}
