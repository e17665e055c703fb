/** The machine's own disks: segment files past the page cache, everything else by Deno. */
import { statfs } from "node:fs/promises";
import { dirname } from "node:path";
import { DirectFile, ioError, syncDirectory } from "../../../ffi/direct_io.ts";
import type { Disk } from "./disk.ts";

async function told<T>(call: string, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw ioError(error, call, path);
  }
}

export const realDisk: Disk = {
  open: (path, options) => DirectFile.open(path, options),
  makeFolder: (path) =>
    told("mkdir", path, () => Deno.mkdir(path, { recursive: true, mode: 0o750 })),
  names: (folder) =>
    told("readdir", folder, async () => {
      const names: string[] = [];
      for await (const { name } of Deno.readDir(folder)) names.push(name);
      return names;
    }),
  syncFolder: syncDirectory,
  size: (path) => told("stat", path, async () => (await Deno.stat(path)).size),
  remove: (path) => told("unlink", path, () => Deno.remove(path)),
  readWhole: (path) => told("read", path, () => Deno.readFile(path)),
  writeWhole: (path, bytes) =>
    told("write", path, async () => {
      {
        using file = await Deno.open(`${path}.new`, { create: true, truncate: true, write: true });
        for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
        await file.sync();
      }
      await Deno.rename(`${path}.new`, path);
      await syncDirectory(dirname(path));
    }),
  space: (path) =>
    told("statfs", path, async () => {
      const { bavail, bsize, blocks } = await statfs(path);
      return {
        free: Number(bavail) * Number(bsize),
        total: Number(blocks) * Number(bsize),
      };
    }),
};
