/** An AWS profile of a tenant's key, as text to be handed over: it names this cloud and its authority. */
import type { AdminCredentials } from "../../../services/identity/contract.ts";
import type { NodeConfig, Paths } from "../../../services/config/node_config.ts";
import { endpointOf } from "../../stack/endpoint.ts";

/** The lines of `~/.aws/config` and `~/.aws/credentials` for one key. */
export function profileText(
  config: NodeConfig,
  paths: Paths,
  name: string,
  key: Omit<AdminCredentials, "account_id">,
): string {
  return [
    `# ~/.aws/config`,
    `[profile ${name}]`,
    `region = ${config.region}`,
    `endpoint_url = ${endpointOf(config)}`,
    `ca_bundle = ${paths.tls.ca}`,
    "s3 =",
    "  addressing_style = path",
    "",
    `# ~/.aws/credentials`,
    `[${name}]`,
    `aws_access_key_id = ${key.access_key_id}`,
    `aws_secret_access_key = ${key.secret_access_key}`,
  ].join("\n");
}
