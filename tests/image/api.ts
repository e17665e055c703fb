/** The API of a machine that runs the image, used from outside with the AWS CLI. */
import { join } from "node:path";
import { eventually } from "../kit/plain_machine.ts";
import type { Machine } from "./machine.ts";

/** The gateway's port in the guest; the machine must forward it. */
export const apiPort = 9999;

/**
 * Waits until the node is well, then answers how to call its API: `aws` runs the AWS CLI of this host
 * with the node's administrator and certificate.
 */
export async function openApi(machine: Machine, limit_ms: number) {
  const limit = performance.now() + limit_ms;
  const left = () => Math.max(1_000, limit - performance.now());
  await machine.shell(left());
  await machine.run("systemctl start mulga-health.service", left());
  const variables: Record<string, string> = JSON.parse(
    await machine.run("hive env --json", left()),
  );
  const fetched: Record<string, string> = {};
  for (const name of ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE"]) {
    const path = join(machine.directory, name.toLowerCase());
    await Deno.writeTextFile(path, await machine.run(`cat ${variables[name]}`));
    fetched[name] = path;
  }
  const env = {
    ...Object.fromEntries(Object.entries(variables).filter(([, value]) => value !== "")),
    ...fetched,
    AWS_ENDPOINT_URL: `https://localhost:${machine.port(apiPort)}`,
    AWS_PAGER: "",
  };
  const aws = async (...args: readonly string[]): Promise<string> => {
    const { success, stdout, stderr } = await new Deno.Command("aws", { args: [...args], env })
      .output();
    if (!success) throw new Error(`aws ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  };
  await eventually("an answer to the AWS CLI", left(), async () => {
    return await aws("sts", "get-caller-identity").then(() => true, () => undefined);
  });
  return { aws };
}
