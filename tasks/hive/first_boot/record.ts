/**
 * What the first-boot step remembers between boots: which seed it applied last (without its secrets)
 * and the host name. A seed of the same content is not applied twice, whatever medium it lies on.
 */
import { createHash } from "node:crypto";
import { join } from "node:path";
import { type Seed, withoutSecrets } from "../../../services/cluster/seed.ts";
import type { Paths } from "../../../services/config/node_config.ts";
import { writeWhole } from "../../init/write_file.ts";

export interface BootRecord {
  readonly version: 1;
  /** Of the seed that was applied last. */
  readonly digest?: string;
  readonly seed?: Seed;
  readonly source?: string;
  readonly applied_at?: string;
  readonly hostname?: string;
}

export const recordFile = (paths: Pick<Paths, "root">) => join(paths.root, "first-boot.json");

/** A damaged record is none: everything that it stands for can be applied again. */
export async function readRecord(paths: Pick<Paths, "root">): Promise<BootRecord> {
  try {
    const value: unknown = JSON.parse(await Deno.readTextFile(recordFile(paths)));
    if (typeof value === "object" && value !== null && (value as BootRecord).version === 1) {
      return value as BootRecord;
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof SyntaxError)) throw error;
  }
  return { version: 1 };
}

/** Writes the record if it says anything new. */
export async function writeRecord(
  paths: Pick<Paths, "root">,
  record: BootRecord,
  now: Date,
): Promise<void> {
  const before = await readRecord(paths);
  if (before.digest === record.digest && before.hostname === record.hostname) return;
  const { seed, ...rest } = record;
  const text = JSON.stringify(
    {
      ...rest,
      ...(seed === undefined ? {} : { seed: withoutSecrets(seed) }),
      applied_at: now.toISOString(),
    },
    null,
    2,
  );
  await writeWhole(recordFile(paths), `${text}\n`, 0o600);
}

/** Tells seeds apart by their content, in whatever order and with whatever comments it is written. */
export function digestOf(seed: Seed): string {
  return createHash("sha256").update(canonical(withoutSecrets(seed))).digest("hex");
}

function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const members = Object.entries(value).filter(([, member]) => member !== undefined)
    .sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, member]) => `${JSON.stringify(name)}:${canonical(member)}`);
  return `{${members.join(",")}}`;
}
