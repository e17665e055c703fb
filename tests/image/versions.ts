/**
 * Versions of the appliance for tests: the product as it is built for users, a later one, and one that
 * was made unhealthy. All trust the key that signs them, which is made once and kept in the cache.
 */
import { join } from "node:path";
import {
  type Appliance,
  type ApplianceOptions,
  buildAppliance,
} from "../../image/appliance/build.ts";
import { imageCache } from "../../image/mkosi/run.ts";
import { generateKeys } from "../../image/signing/keys.ts";
import { writeSums } from "../../image/signing/release.ts";

export const first = "0.1.0";
export const second = "0.1.1";
export const third = "0.1.2";

/** The key that signs test releases. */
export async function testKey(): Promise<string> {
  const directory = join(imageCache(), "appliance");
  await Deno.mkdir(directory, { recursive: true });
  const path = join(directory, "test-release.pem");
  const { privateKey } = await generateKeys();
  try {
    await Deno.writeTextFile(path, privateKey, { createNew: true, mode: 0o600 });
  } catch (error) {
    if (!(error instanceof Deno.errors.AlreadyExists)) throw error;
  }
  return path;
}

/**
 * Builds a version or takes it from the cache, and gives its files a second name in `directory`, so that
 * they stay when the cache drops them.
 */
export async function version(
  directory: string,
  options: Pick<ApplianceOptions, "version" | "extraTrees" | "architecture">,
): Promise<Appliance> {
  let last = 0;
  const built = await buildAppliance({
    ...options,
    key: await testKey(),
    onProgress: (text) => {
      if (performance.now() - last < 15_000) return;
      last = performance.now();
      console.log(`building ${options.version}: ${text}`);
    },
  });
  await Deno.mkdir(directory, { recursive: true });
  const own = join(directory, built.version);
  await Deno.mkdir(own);
  for await (const { name } of Deno.readDir(built.directory)) {
    await Deno.link(join(built.directory, name), join(own, name)).catch(async (error) => {
      if (!(error instanceof Error) || !("code" in error) || error.code !== "EXDEV") throw error;
      await Deno.copyFile(join(built.directory, name), join(own, name));
    });
  }
  const moved = (path: string) => join(own, path.slice(built.directory.length + 1));
  return { ...built, directory: own, raw: moved(built.raw), manifest: moved(built.manifest) };
}

/**
 * A tree that makes a version unhealthy: two services end as soon as they start, one of a node and the
 * one that an unclaimed machine has too. The gate of that version does not wait for them as long as the
 * product's, so that three tries take minutes.
 */
export async function unhealthyTree(directory: string): Promise<string> {
  const tree = join(directory, "unhealthy");
  const put = async (unit: string, text: string) => {
    const folder = join(tree, `usr/lib/systemd/system/${unit}.d`);
    await Deno.mkdir(folder, { recursive: true });
    await Deno.writeTextFile(join(folder, "90-unhealthy.conf"), text);
  };
  for (const service of ["gateway", "cluster"]) {
    await put(
      `mulga-${service}.service`,
      "[Service]\nType=exec\nExecStart=\nExecStart=/usr/bin/false\n",
    );
  }
  await put(
    "mulga-health.service",
    "[Service]\nExecStart=\nExecStart=/usr/bin/hive admin health --bless --timeout 30\n",
  );
  return tree;
}

export interface ReleaseServer extends AsyncDisposable {
  /** As a guest with user-mode networking reaches it. */
  readonly url: string;
}

/** Serves files of this machine to guests: those of a folder, by their names. */
export function serveFolder(directory: string): ReleaseServer {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    async (request) => {
      const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
      if (name.includes("/")) return new Response("no", { status: 404 });
      try {
        const file = await Deno.open(join(directory, name));
        const { size } = await file.stat();
        const from = Number(/^bytes=(\d+)-$/.exec(request.headers.get("range") ?? "")?.[1] ?? 0);
        if (from > 0) await file.seek(from, Deno.SeekMode.Start);
        return new Response(file.readable, {
          status: from > 0 ? 206 : 200,
          headers: {
            "content-length": String(size - from),
            ...(from > 0 ? { "content-range": `bytes ${from}-${size - 1}/${size}` } : {}),
          },
        });
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
        return new Response("no", { status: 404 });
      }
    },
  );
  return {
    url: `http://10.0.2.2:${server.addr.port}`,
    [Symbol.asyncDispose]: () => server.shutdown(),
  };
}

/** Makes one signed release out of versions and serves it. */
export async function release(
  directory: string,
  versions: readonly Appliance[],
): Promise<string> {
  await Deno.mkdir(directory, { recursive: true });
  const names: string[] = [];
  for (const one of versions) {
    for (const name of one.updateFiles) {
      await Deno.link(join(one.directory, name), join(directory, name));
      names.push(name);
    }
  }
  const key = await testKey();
  await writeSums(directory, names, { text: await Deno.readTextFile(key), path: key });
  return directory;
}
