/** For tests: an appliance as a tree of files, whose boot can be run without a machine. */
import { dirname, join } from "node:path";
import { claimFiles } from "../../../services/cluster/claim_files.ts";
import { pathsOf, readConfig } from "../../../services/config/node_config.ts";
import { givenKeyFile } from "../../../services/identity/contract.ts";
import { exists } from "../../init/write_file.ts";
import { firstBoot } from "./first_boot.ts";
import { System } from "./system.ts";

export async function applianceTree(dataDirectory?: string) {
  const root = await Deno.makeTempDir({ prefix: "mulga-boot-" });
  const dataDir = dataDirectory ?? join(root, "var/lib/mulga");
  const paths = pathsOf(dataDir);
  const said: string[] = [];
  const system = new System(root, (text) => said.push(text));
  const put = async (path: string, content: string | Uint8Array) => {
    await Deno.mkdir(dirname(join(root, path)), { recursive: true });
    if (typeof content === "string") await Deno.writeTextFile(join(root, path), content);
    else await Deno.writeFile(join(root, path), content);
  };
  return {
    root,
    paths,
    files: claimFiles(paths),
    said,
    put,
    read: (path: string) => Deno.readTextFile(join(root, path)),
    has: (path: string) => exists(join(root, path)),
    boot: () => firstBoot({ dataDir, system, appliance: true }),
    config: () => readConfig(dataDir),
    async given() {
      const { version: _, ...key } = JSON.parse(await Deno.readTextFile(givenKeyFile(paths)));
      return key;
    },
    [Symbol.asyncDispose]: () => Deno.remove(root, { recursive: true }),
  };
}

export type ApplianceTree = Awaited<ReturnType<typeof applianceTree>>;
