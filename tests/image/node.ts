/** A running appliance as its users see it: the AWS CLI from outside, `hive` on the machine. */
import { join } from "node:path";
import { until } from "../kit/until.ts";
import type { Machine } from "./machine.ts";

export const ports = { gateway: 9999, s3: 9002 } as const;

/** Services start in the order of what they need, and under emulation that takes its time. */
export const up_ms = 900_000;

/** Waits until the gate has let the running version through. @returns seconds since power-on */
export async function healthy(machine: Machine, limit_ms = up_ms): Promise<number> {
  // One program every few seconds: more would take a good part of an emulated machine from its start.
  await machine.run(
    "until state=$(systemctl show --property ActiveState --value mulga-health.service); " +
      'test "$state" = active; do test "$state" = failed && exit 1; sleep 3; done',
    limit_ms,
  );
  return machine.uptime_s();
}

/** Which version runs. */
export async function runningVersion(machine: Machine): Promise<string> {
  return (await machine.run(". /usr/lib/os-release; echo $IMAGE_VERSION")).trim();
}

export interface Client {
  /** The AWS CLI's answer, parsed. @throws Error with its words when it fails */
  aws<T = Record<string, unknown>>(...args: string[]): Promise<T>;
}

const key = {
  access_key_id: "AKIAAPPLIANCETEST222",
  secret_access_key: "a/test/of/the/appliance/0123456789abcdef",
} as const;
const region = "eu-north-1";

/** What the machine is told at its first start: to set itself up, alone, with a key that the test knows. */
export const seedCredential = {
  "mulga.seed": [
    "version: 1",
    "admin:",
    `  access_key_id: ${key.access_key_id}`,
    `  secret_access_key: ${key.secret_access_key}`,
    `region: ${region}`,
    "",
  ].join("\n"),
} as const;

/** The administrator's AWS CLI, on this machine and through a forwarded port. */
export async function administrator(machine: Machine): Promise<Client> {
  const ca = join(machine.directory, "ca.crt");
  await Deno.writeTextFile(ca, await machine.run("cat /var/lib/mulga/tls/ca.crt"));
  const env = {
    AWS_ACCESS_KEY_ID: key.access_key_id,
    AWS_SECRET_ACCESS_KEY: key.secret_access_key,
    AWS_DEFAULT_REGION: region,
    AWS_ENDPOINT_URL: `https://127.0.0.1:${machine.port(ports.gateway)}`,
    AWS_CA_BUNDLE: ca,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_PAGER: "",
    AWS_MAX_ATTEMPTS: "5",
    AWS_RETRY_MODE: "standard",
  };
  return {
    async aws<T>(...args: string[]): Promise<T> {
      const { success, stdout, stderr } = await new Deno.Command("/usr/bin/aws", {
        args: ["--output", "json", "--cli-read-timeout", "300", ...args],
        env,
      }).output();
      const text = new TextDecoder();
      if (!success) throw new Error(`aws ${args.join(" ")}: ${text.decode(stderr).trim()}`);
      const answer = text.decode(stdout);
      return (/^\s*[{[]/.test(answer) ? JSON.parse(answer) : {}) as T;
    },
  };
}

/** Waits until the API answers that client. */
export async function answers(client: Client, limit_ms = up_ms): Promise<void> {
  await until("an answer of the API", async () => {
    return await client.aws("sts", "get-caller-identity").catch(() => undefined);
  }, limit_ms);
}

/** Sizes and states of the disk, for messages. */
export async function partitions(machine: Machine): Promise<string> {
  return await machine.run("lsblk --noheadings --output NAME,SIZE,PARTLABEL,FSTYPE /dev/vda");
}
