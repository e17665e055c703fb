/**
 * What a list of sums offers: releases and the files that make an update of each.
 *
 * Files are called `mulgaos_<version>_<architecture>.<part>`. An update is the root file system, its
 * verity tree and the kernel image, and whatever further parts a board needs; the whole-disk image and
 * the lists beside it are not part of an update.
 */
import { compareVersions, isVersion } from "./version.ts";
import type { Sums } from "../../../image/signing/sums.ts";

export type ReleaseArchitecture = "x86-64" | "arm64";

export const hostArchitecture: ReleaseArchitecture = Deno.build.arch === "aarch64"
  ? "arm64"
  : "x86-64";

export interface Part {
  /** As it is called where it comes from. */
  readonly name: string;
  /** As it is called when it is unpacked and checked. */
  readonly staged: string;
  readonly sum: string;
  readonly kind: "root" | "verity" | "kernel" | "board";
}

export interface Release {
  readonly version: string;
  readonly architecture: ReleaseArchitecture;
  readonly parts: readonly Part[];
  /** The file that says which state formats it reads. */
  readonly formats: { readonly name: string; readonly sum: string } | undefined;
}

const name = /^mulgaos_([^_]+)_(x86-64|arm64)\.(.+)$/;

function kindOf(part: string): Part["kind"] | undefined {
  if (/^root-verity(\.[0-9a-f-]+)?\.raw(\.zst)?$/.test(part)) return "verity";
  if (/^root(\.[0-9a-f-]+)?\.raw(\.zst)?$/.test(part)) return "root";
  if (part === "efi" || part === "efi.zst") return "kernel";
  // What a board's firmware needs besides, for example its kernel and device trees.
  if (/^[a-z0-9-]+\.(raw|tar|img)(\.zst)?$/.test(part)) return "board";
  return undefined;
}

/** The complete releases for an architecture, newest first. */
export function releasesIn(sums: Sums, architecture: ReleaseArchitecture): Release[] {
  const parts = new Map<string, Part[]>();
  const formats = new Map<string, { name: string; sum: string }>();
  for (const [file, sum] of sums) {
    const [, version, of, part] = name.exec(file) ?? [];
    if (version === undefined || part === undefined || of !== architecture) continue;
    if (!isVersion(version)) continue;
    if (part === "formats.json") formats.set(version, { name: file, sum });
    const kind = kindOf(part);
    if (kind === undefined) continue;
    const staged = file.replace(/\.zst$/, "");
    parts.set(version, [...parts.get(version) ?? [], { name: file, staged, sum, kind }]);
  }
  const complete = [...parts].filter(([, of]) =>
    (["root", "verity", "kernel"] as const).every((kind) =>
      of.filter((part) => part.kind === kind).length === 1
    )
  );
  return complete.map(([version, of]): Release => ({
    version,
    architecture,
    parts: of,
    formats: formats.get(version),
  })).sort((a, b) => compareVersions(b.version, a.version));
}
