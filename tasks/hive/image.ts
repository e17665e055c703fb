/**
 * Guest images: built from Debian's packages, imported from a file, listed. Compute does the import;
 * this side brings it a file that it can read and shows how far it is.
 */
import type { Image } from "@aws-sdk/client-ec2";
import { buildGuestImage, type BuiltImage } from "../../image/build.ts";
import type { Bus } from "../../services/bus/bus.ts";
import { subject, systemContext } from "../../services/bus/subject.ts";
import { importImage, type ImportProgress } from "../../services/compute/contract.ts";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import { adminCredentials } from "../../services/identity/contract.ts";
import { CommandError } from "../terminal/command.ts";
import { Progress } from "../terminal/progress.ts";
import { openToCompute } from "./image_place.ts";
import { join } from "node:path";

export type ImageFormat = "raw" | "qcow2" | "vmdk";
export type Architecture = "x86_64" | "arm64";

export const hostArchitecture: Architecture = Deno.build.arch === "aarch64" ? "arm64" : "x86_64";

interface DescribeImagesAnswer {
  readonly Images?: readonly Image[];
}
const describeImages = subject<Record<string, unknown>, DescribeImagesAnswer>(
  "ec2.DescribeImages",
);

/** The account that the operator's own calls belong to. */
async function adminAccount(bus: Bus): Promise<string> {
  return (await bus.ask(adminCredentials, null)).account_id;
}

/** The images of the node's account, newest first. */
export async function listImages(bus: Bus, config: NodeConfig): Promise<Image[]> {
  const account_id = await adminAccount(bus);
  const answer = await bus.ask(describeImages, { Owners: ["self"] }, {
    ...systemContext(30_000),
    account_id,
    principal_arn: `arn:aws:iam::${account_id}:root`,
    region: config.region,
    source_ip: "127.0.0.1",
  });
  return [...answer.Images ?? []].sort((a, b) =>
    String(b.CreationDate ?? "").localeCompare(String(a.CreationDate ?? ""))
  );
}

/**
 * What a disk image file is, by its first bytes; an unknown one is raw.
 * @throws CommandError when its name says otherwise: a damaged qcow2 would pass as a raw disk
 */
export async function formatOf(path: string): Promise<ImageFormat> {
  using file = await Deno.open(path);
  const head = new Uint8Array(64);
  const got = await file.read(head) ?? 0;
  const text = new TextDecoder("latin1").decode(head.subarray(0, got));
  if (text.startsWith("QFI\xfb")) return "qcow2";
  if (text.startsWith("KDMV") || text.startsWith("# Disk DescriptorFile")) return "vmdk";
  const named = /\.(qcow2|vmdk)$/i.exec(path)?.[1];
  if (named !== undefined) {
    throw new CommandError(
      `${path} is named as a ${named} image and is none. If its bytes are a raw disk, say --format raw.`,
    );
  }
  return "raw";
}

export interface ImportOptions {
  readonly path: string;
  readonly format: ImageFormat;
  readonly name: string;
  readonly description?: string;
  readonly architecture: Architecture;
}

/** Imports a file as an AMI, showing progress. @returns its id */
export async function importFile(bus: Bus, paths: Paths, options: ImportOptions): Promise<string> {
  const account_id = await adminAccount(bus);
  using progress = new Progress(`Importing ${options.name}`);
  await using file = await openToCompute(options.path, paths);
  const hearing = bus.listen<ImportProgress>("compute.event.import.>", (event) => {
    if (event.name === options.name) progress.update(`${Math.floor(event.percent)} %`);
  });
  try {
    const { image_id } = await bus.ask(importImage, { ...options, path: file.path, account_id });
    progress.done(image_id);
    return image_id;
  } catch (error) {
    progress.fail("not imported");
    throw error;
  } finally {
    await hearing.close();
  }
}

/** Builds a guest image and registers it. @returns the AMI's id */
export async function buildImage(
  bus: Bus,
  _config: NodeConfig,
  paths: Paths,
  name: string,
): Promise<string> {
  const output = join(paths.root, "images");
  await Deno.mkdir(output, { recursive: true });
  using progress = new Progress(`Building the guest image ${name}`);
  let built: BuiltImage;
  try {
    built = await buildGuestImage(name, { output, onProgress: (text) => progress.update(text) });
  } catch (error) {
    progress.fail("not built");
    throw error;
  }
  progress.done();
  try {
    return await importFile(bus, paths, {
      path: built.path,
      format: "raw",
      name,
      description: built.description,
      architecture: hostArchitecture,
    });
  } finally {
    await Deno.remove(built.path).catch(() => {});
  }
}
