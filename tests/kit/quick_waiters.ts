/**
 * The AWS CLI waits by looking every fifteen seconds, which in tests is time in which nothing happens. Here it
 * takes its own waiters with a second between two looks, and as long in all as before: what they look
 * for, and what they call done or failed, stays the CLI's.
 */
import { join } from "node:path";

/** Where Debian's package keeps them, below the folder that `AWS_DATA_PATH` replaces. */
const models = "/usr/lib/python3/dist-packages/awscli/botocore/data";
const ec2 = "ec2/2016-11-15";

interface Waiters {
  readonly waiters: Readonly<Record<string, { delay: number; maxAttempts: number }>>;
}

/**
 * Writes them below `directory`, which need not exist.
 * @returns what the CLI's environment needs: nothing when they do not lie where Debian keeps them
 */
export async function quickWaiters(directory: string): Promise<Record<string, string>> {
  let text: string;
  try {
    text = await Deno.readTextFile(join(models, ec2, "waiters-2.json"));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return {};
    throw error;
  }
  const own: Waiters = JSON.parse(text);
  for (const waiter of Object.values(own.waiters)) {
    waiter.maxAttempts *= waiter.delay;
    waiter.delay = 1;
  }
  await Deno.mkdir(join(directory, ec2), { recursive: true });
  await Deno.writeTextFile(join(directory, ec2, "waiters-2.json"), JSON.stringify(own));
  return { AWS_DATA_PATH: directory };
}
