/**
 * Where compute can open an image file. In a checkout one user runs everything and any file will do. On
 * an installed system compute is a user of its own that sees neither homes nor /tmp, so the file comes as
 * a copy into `images/` of the data directory, which is open to compute alone, and goes again afterwards.
 *
 * A copy that a killed `hive` left behind is removed by the next import.
 */
import { dirname, join } from "node:path";
import type { Paths } from "../../services/config/node_config.ts";
import { exists } from "../init/write_file.ts";
import { CommandError } from "../terminal/command.ts";

const copyName = /^import-(\d+)$/;

interface OpenFile extends AsyncDisposable {
  readonly path: string;
}

/** The group that compute's own directory has; undefined where compute is the user that asks. */
async function groupOfCompute(paths: Paths): Promise<number | undefined> {
  const { uid, gid } = await Deno.stat(paths.service("compute"));
  return uid === Deno.uid() || gid === null ? undefined : gid;
}

/**
 * Makes sure that compute can open that file.
 * @throws CommandError when there is no room for the copy
 */
export async function openToCompute(path: string, paths: Paths): Promise<OpenFile> {
  const group = await groupOfCompute(paths);
  const nothing = async () => {};
  if (group === undefined) return { path, [Symbol.asyncDispose]: nothing };
  const images = join(paths.root, "images");
  await Deno.mkdir(images, { recursive: true });
  await Deno.chown(images, null, group);
  await Deno.chmod(images, 0o2750);
  const give = async (file: string) => {
    await Deno.chown(file, null, group);
    await Deno.chmod(file, 0o640);
  };
  if (dirname(path) === images) {
    await give(path);
    return { path, [Symbol.asyncDispose]: nothing };
  }
  await removeLeftovers(images);
  const copy = join(images, `import-${Deno.pid}`);
  const remove = () => Deno.remove(copy).catch(() => {});
  // Not Deno's own: that would fill an image's holes.
  const { success, stderr } = await new Deno.Command("cp", {
    args: ["--sparse=always", "--reflink=auto", "--no-preserve=all", path, copy],
    env: { LC_ALL: "C" },
    stdin: "null",
  }).output();
  if (!success) {
    await remove();
    throw new CommandError(
      `${path} cannot be brought to where compute reads it: ${
        new TextDecoder().decode(stderr).trim()
      }. Give the data directory more room, or put the file into ${images} yourself.`,
    );
  }
  await give(copy);
  return { path: copy, [Symbol.asyncDispose]: remove };
}

async function removeLeftovers(images: string): Promise<void> {
  for await (const { name } of Deno.readDir(images)) {
    const pid = copyName.exec(name)?.[1];
    if (pid === undefined || await exists(`/proc/${pid}`)) continue;
    await Deno.remove(join(images, name)).catch(() => {});
  }
}
