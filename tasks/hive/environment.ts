/**
 * `hive env`: what any AWS client needs to find this node, as shell exports. Old AWS CLIs ignore the
 * endpoint of a profile and the variable for it; for those the last line shows the option.
 */
import { adminCredentials } from "../../services/identity/contract.ts";
import { exists } from "../init/write_file.ts";
import { endpointOf } from "../stack/endpoint.ts";
import { nodeAwsFiles, writeNodeProfile } from "../stack/aws_profile.ts";
import { busOf, type NodeOfCommand } from "./node.ts";

/**
 * Writes the profile that the variables point at, where nobody has: `up` does it at every start, an
 * installed system when it is asked for.
 * @throws CommandError when the node does not run
 */
export async function ensureNodeProfile(node: NodeOfCommand): Promise<void> {
  if (await exists(nodeAwsFiles(node.paths).credentials)) return;
  await using bus = await busOf(node);
  await writeNodeProfile(node.config, node.paths, await bus.ask(adminCredentials, null));
}

/** The variables, by name. */
export function environmentOf({ config, paths }: NodeOfCommand): Record<string, string> {
  const files = nodeAwsFiles(paths);
  return {
    MULGA_DATA_DIR: paths.root,
    AWS_CONFIG_FILE: files.config,
    AWS_SHARED_CREDENTIALS_FILE: files.credentials,
    AWS_PROFILE: config.profile,
    AWS_REGION: config.region,
    AWS_DEFAULT_REGION: config.region,
    AWS_ENDPOINT_URL: endpointOf(config),
    AWS_CA_BUNDLE: paths.tls.ca,
    // The JavaScript SDK trusts by Node's own variable, Deno programs by theirs.
    NODE_EXTRA_CA_CERTS: paths.tls.ca,
    DENO_CERT: paths.tls.ca,
    // Set keys would win over the profile's.
    AWS_ACCESS_KEY_ID: "",
    AWS_SECRET_ACCESS_KEY: "",
    AWS_SESSION_TOKEN: "",
  };
}

const quote = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`;

/** The exports as a shell reads them; an empty value is unset. */
export function shellExports(variables: Readonly<Record<string, string>>): string {
  return Object.entries(variables).map(([name, value]) =>
    value === "" ? `unset ${name}` : `export ${name}=${quote(value)}`
  ).concat(
    `# An AWS CLI before 2.13: aws --endpoint-url ${variables["AWS_ENDPOINT_URL"]} …`,
  ).join("\n");
}
