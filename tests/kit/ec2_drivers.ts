/**
 * EC2, and the bucket that it takes files from, by two of its clients behind one face: Debian's AWS CLI and the JavaScript SDK, so that one story
 * is told by both. Calls are written as the SDK's operations and inputs; the CLI takes the same as JSON.
 */
import * as sdk from "@aws-sdk/client-ec2";
import * as s3 from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { Agent } from "node:https";
import type { ActionName } from "../../services/resources/wire.ts";
import type { SdkInput, SdkOutput } from "./ec2_scenario.ts";
import { CommandFailed, run } from "./stack.ts";

export interface Tenant {
  readonly account_id: string;
  readonly access_key_id: string;
  readonly secret_access_key: string;
}

export interface Cloud {
  readonly endpoint: string;
  readonly region: string;
  /** Path of the certificate authority. */
  readonly ca: string;
  /** What the CLI waits by, as its environment. */
  readonly waiters: Readonly<Record<string, string>>;
}

export interface Driver extends Disposable {
  readonly name: string;
  call<A extends ActionName>(action: A, input: SdkInput<A>): Promise<SdkOutput<A>>;
  /** The code that the call is refused with. */
  refusal<A extends ActionName>(action: A, input: SdkInput<A>): Promise<string>;
  /** Waits as the client itself does, by the waiter's name in the CLI: `vpc-available`. */
  wait(waiter: string, input: Readonly<Record<string, unknown>>): Promise<void>;
  /** User data as the client takes it: some encode it themselves. */
  userData(text: string): string;
  console(instance: string): Promise<string>;
  /** Makes a bucket with one object. */
  giveObject(bucket: string, key: string, body: Uint8Array): Promise<void>;
  /** Deletes both. */
  takeObject(bucket: string, key: string): Promise<void>;
}

const kebab = (name: string) => name.replace(/([a-z0-9])([A-Z])/g, "$1-$2").toLowerCase();

/** Waiters of the AWS CLI on this machine. */
export async function cliWaiters(): Promise<string[]> {
  const { stderr } = await run(["/usr/bin/aws", "ec2", "wait", "none-such"]);
  return [...stderr.slice(stderr.indexOf("valid choices")).matchAll(/[a-z]+(?:-[a-z]+)+/g)]
    .map(([name]) => name);
}

export function cliDriver(cloud: Cloud, tenant: Tenant): Driver {
  const env = {
    AWS_ACCESS_KEY_ID: tenant.access_key_id,
    AWS_SECRET_ACCESS_KEY: tenant.secret_access_key,
    AWS_DEFAULT_REGION: cloud.region,
    AWS_ENDPOINT_URL: cloud.endpoint,
    AWS_CA_BUNDLE: cloud.ca,
    AWS_CONFIG_FILE: "/dev/null",
    AWS_SHARED_CREDENTIALS_FILE: "/dev/null",
    AWS_EC2_METADATA_DISABLED: "true",
    AWS_PAGER: "",
    AWS_MAX_ATTEMPTS: "3",
    AWS_RETRY_MODE: "standard",
    ...cloud.waiters,
  };
  const plain = async (...command: readonly string[]) => {
    const whole = [
      ...["/usr/bin/aws", "--output", "json", "--endpoint-url", cloud.endpoint, ...command],
    ];
    return { whole, ran: await run(whole, { env, timeout_ms: 600_000 }) };
  };
  const answerOf = ({ whole, ran }: Awaited<ReturnType<typeof plain>>) => {
    if (ran.code !== 0) throw new CommandFailed(whole, ran);
    return ran.stdout.trim() === "" ? {} : JSON.parse(ran.stdout);
  };
  const aws = (command: readonly string[], input: unknown) =>
    plain("ec2", ...command, "--cli-input-json", JSON.stringify(input));
  const must = async (command: readonly string[], input: unknown) =>
    answerOf(await aws(command, input));
  return {
    name: "the AWS CLI",
    call: (action, input) => must([kebab(action)], input),
    async refusal(action, input) {
      const { whole, ran } = await aws([kebab(action)], input);
      const code = /An error occurred \(([^)]+)\)/.exec(ran.stderr)?.[1];
      if (code === undefined) throw new CommandFailed(whole, ran);
      return code;
    },
    wait: async (waiter, input) => void await must(["wait", waiter], input),
    // Both directions are encoded by the CLI itself.
    userData: (text) => text,
    console: async (InstanceId) =>
      (await must(["get-console-output"], { InstanceId, Latest: true })).Output ?? "",
    async giveObject(bucket, key, body) {
      const file = await Deno.makeTempFile({ prefix: "mulga-object-" });
      try {
        await Deno.writeFile(file, body);
        const place = `LocationConstraint=${cloud.region}`;
        const create = ["s3api", "create-bucket", "--bucket", bucket];
        answerOf(await plain(...create, "--create-bucket-configuration", place));
        answerOf(
          await plain("s3api", "put-object", "--bucket", bucket, "--key", key, "--body", file),
        );
      } finally {
        await Deno.remove(file);
      }
    },
    async takeObject(bucket, key) {
      answerOf(await plain("s3api", "delete-object", "--bucket", bucket, "--key", key));
      answerOf(await plain("s3api", "delete-bucket", "--bucket", bucket));
    },
    [Symbol.dispose]() {},
  };
}

type Waiter = (
  options: { client: sdk.EC2Client; maxWaitTime: number; minDelay: number; maxDelay: number },
  input: unknown,
) => Promise<unknown>;

export function sdkDriver(cloud: Cloud, tenant: Tenant): Driver {
  const agent = new Agent({ ca: Deno.readTextFileSync(cloud.ca), keepAlive: true });
  const settings = {
    region: cloud.region,
    endpoint: cloud.endpoint,
    credentials: {
      accessKeyId: tenant.access_key_id,
      secretAccessKey: tenant.secret_access_key,
    },
    requestHandler: { httpsAgent: agent },
  };
  const client = new sdk.EC2Client(settings);
  const objects = new s3.S3Client({ ...settings, forcePathStyle: true });
  const named = sdk as unknown as Record<string, unknown>;
  const call = async (action: string, input: unknown) => {
    const command = named[`${action}Command`] as new (input: unknown) => never;
    try {
      return await client.send(new command(input)) as never;
    } catch (error) {
      if (error instanceof Error) error.message = `${action}: ${error.message}`;
      throw error;
    }
  };
  return {
    name: "the JavaScript SDK",
    call,
    async refusal(action, input) {
      try {
        await call(action, input);
      } catch (error) {
        assert.ok(error instanceof sdk.EC2ServiceException, String(error));
        return error.name;
      }
      throw new Error(`${action} was not refused`);
    },
    async wait(waiter, input) {
      const name = waiter.replace(/(?:^|-)([a-z])/g, (_, letter) => letter.toUpperCase());
      const wait = named[`waitUntil${name}`] as Waiter | undefined;
      assert.ok(wait, `the SDK has no waiter ${name}`);
      await wait({ client, maxWaitTime: 600, minDelay: 1, maxDelay: 2 }, input);
    },
    userData: (text) => btoa(text),
    async console(InstanceId) {
      const { Output = "" } = await client.send(
        new sdk.GetConsoleOutputCommand({ InstanceId, Latest: true }),
      );
      return new TextDecoder().decode(Uint8Array.fromBase64(Output));
    },
    async giveObject(Bucket, Key, Body) {
      await objects.send(new s3.CreateBucketCommand({ Bucket }));
      await objects.send(new s3.PutObjectCommand({ Bucket, Key, Body }));
    },
    async takeObject(Bucket, Key) {
      await objects.send(new s3.DeleteObjectCommand({ Bucket, Key }));
      await objects.send(new s3.DeleteBucketCommand({ Bucket }));
    },
    [Symbol.dispose]() {
      client.destroy();
      objects.destroy();
      agent.destroy();
    },
  };
}
