import { sendHostileRequests } from "../kit/hostile_requests.ts";
import { seeded } from "../kit/random.ts";

/** `MULGA_TEST_ROUNDS` runs it for longer. */
const rounds = Number(Deno.env.get("MULGA_TEST_ROUNDS") ?? 20);

Deno.test("no request to IAM, STS, tagging or EBS is a fault of ours, and no refusal writes", () =>
  seeded((random) => sendHostileRequests(random, rounds)));
