import { sendHostileRequests } from "../kit/hostile_requests.ts";
import { Random } from "../kit/random.ts";

Deno.test("random and mutated calls of IAM, STS, tagging and EBS are answered or refused, and no refusal writes", async () => {
  // Always the same requests; the long search has other seeds.
  await sendHostileRequests(new Random(1), 1);
});
