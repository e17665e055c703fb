/**
 * AWS profiles: in the data directory for everybody who points there, and in the user's own files so
 * that `aws --profile mulga` works. The user's files are theirs: only a section that carries this
 * node's mark is ever changed or removed, every other byte stays, and the file is replaced whole.
 */
import { dirname, join } from "node:path";
import type { NodeConfig, Paths } from "../../services/config/node_config.ts";
import type { AdminCredentials } from "../../services/identity/contract.ts";
import { exists, writeWhole } from "../init/write_file.ts";
import { CommandError } from "../terminal/command.ts";
import { endpointOf } from "./endpoint.ts";
import { textIfThere } from "../../services/config/missing_files.ts";

export interface AwsFiles {
  readonly config: string;
  readonly credentials: string;
}

/** The files of the node itself. */
export const nodeAwsFiles = (paths: Paths): AwsFiles => ({
  config: join(paths.aws, "config"),
  credentials: join(paths.aws, "credentials"),
});

/** The files that the AWS CLI of this user reads. */
function userAwsFiles(): AwsFiles {
  const folder = join(Deno.env.get("HOME") ?? "/root", ".aws");
  return {
    config: Deno.env.get("AWS_CONFIG_FILE") || join(folder, "config"),
    credentials: Deno.env.get("AWS_SHARED_CREDENTIALS_FILE") || join(folder, "credentials"),
  };
}

const markOf = (config: NodeConfig) =>
  `# Written by MulgaOS for node ${config.node_id}; kept up to date by \`up\`.`;

const configSection = (profile: string) => profile === "default" ? "default" : `profile ${profile}`;

function configBody(config: NodeConfig, paths: Paths): string[] {
  return [
    `region = ${config.region}`,
    "output = json",
    `endpoint_url = ${endpointOf(config)}`,
    `ca_bundle = ${paths.tls.ca}`,
    "s3 =",
    // Bucket names as host names would need a name server.
    "  addressing_style = path",
  ];
}

function credentialsBody(credentials: AdminCredentials): string[] {
  return [
    `aws_access_key_id = ${credentials.access_key_id}`,
    `aws_secret_access_key = ${credentials.secret_access_key}`,
  ];
}

/** The section's lines, from its head to the next head; undefined when there is none. */
function findSection(
  lines: readonly string[],
  name: string,
): [from: number, to: number] | undefined {
  const head = (line: string) => /^\s*\[\s*(.*?)\s*\]\s*([#;].*)?$/.exec(line)?.[1];
  const same = name.replaceAll(/\s+/g, " ");
  const from = lines.findIndex((line) => head(line)?.replaceAll(/\s+/g, " ") === same);
  if (from < 0) return undefined;
  const length = lines.slice(from + 1).findIndex((line) => head(line) !== undefined);
  return [from, length < 0 ? lines.length : from + 1 + length];
}

/** Another's section of that name is in the way. */
export class ForeignSection extends Error {
  override readonly name = "ForeignSection";
}

/**
 * The file's text with our section put in, in its place or at the end.
 * @throws ForeignSection when there is a section of that name without our mark
 */
export function withSection(
  text: string,
  name: string,
  mark: string,
  body: readonly string[],
): string {
  const section = [`[${name}]`, mark, ...body];
  const lines = text.split("\n");
  const found = findSection(lines, name);
  if (found === undefined) {
    const before = text === "" ? "" : `${text.replace(/\n*$/, "")}\n\n`;
    return `${before}${section.join("\n")}\n`;
  }
  const [from, to] = found;
  if (!lines.slice(from, to).includes(mark)) throw new ForeignSection(name);
  // Blank lines and comments before the next head belong to that one.
  let end = to;
  while (end > from + 1 && /^\s*([#;].*)?$/.test(lines[end - 1] ?? "")) end--;
  return [...lines.slice(0, from), ...section, ...lines.slice(Math.max(end, from + 1))].join("\n")
    .replace(/\n*$/, "\n");
}

/** The file's text without our section; unchanged when it is not there or not ours. */
export function withoutSection(text: string, name: string, mark: string): string {
  const lines = text.split("\n");
  const found = findSection(lines, name);
  if (found === undefined || !lines.slice(found[0], found[1]).includes(mark)) return text;
  let [from, end] = found;
  while (end > from + 1 && /^\s*([#;].*)?$/.test(lines[end - 1] ?? "")) end--;
  while (from > 0 && lines[from - 1] === "") from--;
  const rest = [...lines.slice(0, from), ...lines.slice(Math.max(end, from + 1))].join("\n");
  return rest.replace(/^\n+/, "").replace(/\n*$/, rest.trim() === "" ? "" : "\n");
}

async function textOf(path: string): Promise<string> {
  return await textIfThere(path) ?? "";
}

/** Replaces a user's file in the place where it really is, with the mode it had. */
async function replace(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const there = await exists(path);
  const real = there ? await Deno.realPath(path) : path;
  const mode = there ? ((await Deno.stat(real)).mode ?? 0o600) & 0o777 : 0o600;
  await writeWhole(real, text, mode);
}

/** Writes the node's own files: its profile, and the same as default for whoever names none. */
export async function writeNodeProfile(
  config: NodeConfig,
  paths: Paths,
  credentials: AdminCredentials,
): Promise<void> {
  const files = nodeAwsFiles(paths);
  const mark = markOf(config);
  let [settings, secrets] = ["", ""];
  for (const profile of new Set([config.profile, "default"])) {
    settings = withSection(settings, configSection(profile), mark, configBody(config, paths));
    secrets = withSection(secrets, profile, mark, credentialsBody(credentials));
  }
  await writeWhole(files.config, settings, 0o600);
  await writeWhole(files.credentials, secrets, 0o600);
}

/** Whether the user's files already hold this node's profile. */
export async function userHasProfile(config: NodeConfig, files = userAwsFiles()): Promise<boolean> {
  return (await textOf(files.config)).includes(markOf(config));
}

/** Puts the node's profile into the user's files. @throws CommandError when the name is theirs */
export async function writeUserProfile(
  config: NodeConfig,
  paths: Paths,
  credentials: AdminCredentials,
  files = userAwsFiles(),
): Promise<void> {
  const mark = markOf(config);
  try {
    const settings = withSection(
      await textOf(files.config),
      configSection(config.profile),
      mark,
      configBody(config, paths),
    );
    const secrets = withSection(
      await textOf(files.credentials),
      config.profile,
      mark,
      credentialsBody(credentials),
    );
    await replace(files.config, settings);
    await replace(files.credentials, secrets);
  } catch (cause) {
    if (!(cause instanceof ForeignSection)) throw cause;
    throw new CommandError(
      `Your AWS files already have a profile "${config.profile}" that is not this node's, and it ` +
        `stays as it is: choose another name with \`up --profile NAME\`, or use ` +
        `\`eval "$(hive env)"\`.`,
      1,
      { cause },
    );
  }
}

/** Takes this node's profile out of the user's files. */
export async function removeUserProfile(config: NodeConfig, files = userAwsFiles()): Promise<void> {
  const mark = markOf(config);
  for (
    const [path, section] of [
      [files.config, configSection(config.profile)],
      [files.credentials, config.profile],
    ] as const
  ) {
    const before = await textOf(path);
    const after = withoutSection(before, section, mark);
    if (after !== before) await replace(path, after);
  }
}
