/** Instances as a user of the AWS CLI handles them: launched, awaited, reached by SSH. */
import { join } from "node:path";
import { CommandFailed, type Ran, type Stack } from "./stack.ts";
import { tinyGuestImage } from "./tiny_guest.ts";
import { untilWorks } from "./until.ts";

export interface DescribedInstance {
  readonly InstanceId: string;
  readonly State: { readonly Name: string };
  readonly StateReason?: { readonly Code: string; readonly Message: string };
  readonly PrivateIpAddress?: string;
  readonly BlockDeviceMappings: readonly {
    readonly DeviceName: string;
    readonly Ebs: {
      readonly AttachTime: string;
      readonly DeleteOnTermination: boolean;
      readonly Status: string;
      readonly VolumeId: string;
    };
  }[];
}

export async function describeInstance(stack: Stack, id: string): Promise<DescribedInstance> {
  const answer = await stack.aws<{ Reservations: { Instances: DescribedInstance[] }[] }>(
    "ec2",
    "describe-instances",
    "--instance-ids",
    id,
  );
  const instance = answer.Reservations[0]?.Instances[0];
  if (instance === undefined) throw new Error(`${id} is not described`);
  return instance;
}

/** Makes a key pair and keeps its private half in the stack's directory. */
export async function createKey(
  stack: Stack,
  name: string,
  type: "rsa" | "ed25519" = "ed25519",
): Promise<string> {
  const { KeyMaterial } = await stack.aws<{ KeyMaterial: string }>(
    "ec2",
    "create-key-pair",
    "--key-name",
    name,
    "--key-type",
    type,
  );
  const path = join(stack.dataDir, `${name}.pem`);
  await Deno.writeTextFile(path, KeyMaterial, { mode: 0o600 });
  return path;
}

export async function launch(stack: Stack, ...args: string[]): Promise<string> {
  const answer = await stack.aws<{ Instances: DescribedInstance[] }>(
    "ec2",
    "run-instances",
    ...args,
  );
  const id = answer.Instances[0]?.InstanceId;
  if (id === undefined) throw new Error("run-instances answered no instance");
  await stack.aws("ec2", "wait", "instance-running", "--instance-ids", id);
  return id;
}

/** Brings the tiny guest's image into the cloud. @returns the image's id */
export async function importTinyGuest(stack: Stack): Promise<string> {
  await stack.hive("image", "import", await tinyGuestImage(), "--name", "tiny", "--format", "raw");
  const { Images } = await stack.aws<{ Images: { ImageId: string }[] }>(
    "ec2",
    "describe-images",
    ...["--filters", "Name=name,Values=tiny"],
  );
  if (Images[0] === undefined) throw new Error("the tiny guest's image is not described");
  return Images[0].ImageId;
}

export interface Login {
  readonly key: string;
  readonly user: string;
}

async function sshRaw(
  stack: Stack,
  id: string,
  login: Login,
  command: string,
  timeout_ms = 600_000,
): Promise<Ran> {
  return await stack.hiveRaw(
    ["ssh", id, "-i", login.key, "-l", login.user, "--", command],
    { timeout_ms },
  );
}

/** Runs a command in the guest. @throws CommandFailed when it does not end with 0 */
export async function ssh(
  stack: Stack,
  id: string,
  login: Login,
  command: string,
  timeout_ms = 600_000,
): Promise<string> {
  const ran = await sshRaw(stack, id, login, command, timeout_ms);
  if (ran.code !== 0) throw new CommandFailed(["ssh", id, command], ran);
  return ran.stdout;
}

/** Waits until the guest lets the key in. */
export async function awaitLogin(
  stack: Stack,
  id: string,
  login: Login,
  timeout_ms = 1_200_000,
): Promise<void> {
  await untilWorks(
    `${id} to let ${login.user} in`,
    async () => (await sshRaw(stack, id, login, "true", 60_000)).code === 0,
    timeout_ms,
  );
}
