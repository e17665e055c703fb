import type { Random } from "../disk/simulated_disk.ts";
import type { Step } from "./clients.ts";

/** What clients do at once, each with a key of its own. @param content of what is written next */
export function randomSteps(random: Random, content: () => number): Step[] {
  const keys = ["a", "b", "c", "d"];
  return Array.from({ length: 1 + random(3) }, (): Step => {
    const [key = "a"] = keys.splice(random(keys.length), 1);
    const what = random(20);
    if (what < 8) return { kind: "put", key, seed: content() };
    if (what < 11) return { kind: "delete", key };
    if (what < 12) return { kind: "delete version", key, at: random(100) };
    if (what < 14) return { kind: "multipart", key, seed: content() };
    if (what < 15) return { kind: "upload", key, seed: content(), abort: random(2) === 0 };
    if (what < 16) return { kind: "complete", key };
    if (what < 17) return { kind: "tag", key };
    if (what < 19) return { kind: "compact", limit: [0.3, 0.7, 2][random(3)] ?? 2 };
    return { kind: "repair" };
  });
}

/** A step, for who reads what happened. */
export function told(step: Step): string {
  const { kind, ...rest } = step;
  return [kind, ...Object.values(rest)].join(" ");
}
