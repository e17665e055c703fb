/** Which schedules there are: every crash point of what the store does, and random ones from a seed. */
import type { Code } from "../extents/code.ts";
import { type Random, randomFrom } from "../disk/simulated_disk.ts";
import type { Step } from "./clients.ts";
import type { Schedule } from "./schedule.ts";

const put = (key: string, seed: number): Step => ({ kind: "put", key, seed });

/** Each of the things that a crash may come in between. Seeds ending in 2 to 4 and 7 to 9 are striped. */
export const scenarios: Readonly<Record<string, readonly (readonly Step[])[]>> = {
  "put a small object": [[put("a", 6)]],
  "put a large object": [[put("a", 12)]],
  "overwrite small with large": [[put("a", 6)], [put("a", 13)]],
  "overwrite large with small": [[put("a", 13)], [put("a", 6)]],
  "delete a small object": [[put("a", 6), put("b", 11)], [{ kind: "delete", key: "a" }]],
  "delete a large object": [[put("a", 12), put("b", 11)], [{ kind: "delete", key: "a" }]],
  "many at once": [
    [put("a", 6), put("b", 12), put("c", 13), put("d", 16)],
    [put("a", 17), { kind: "delete", key: "b" }, put("c", 21)],
  ],
  "complete a multipart upload": [[put("a", 6)], [{ kind: "multipart", key: "a", seed: 19 }]],
  "remove what was uploaded in parts": [
    [{ kind: "multipart", key: "a", seed: 19 }, {
      kind: "upload",
      key: "b",
      seed: 12,
      abort: true,
    }],
    [{ kind: "upload", key: "c", seed: 13, abort: false }],
    [{ kind: "tag", key: "a" }],
    [{ kind: "compact" }],
    [{ kind: "delete", key: "a" }],
    [{ kind: "compact" }, put("b", 6)],
  ],
  "change tags": [
    [put("a", 6), put("b", 12)],
    [{ kind: "tag", key: "a" }, { kind: "tag", key: "b" }],
  ],
  "move to another class": [
    [put("a", 6), put("b", 12)],
    [{ kind: "move" }, put("c", 13)],
    [put("a", 11), { kind: "tag", key: "b" }],
    [{ kind: "move" }, { kind: "compact" }],
  ],
  "compaction": [
    [put("a", 6), put("b", 14), put("c", 13)],
    [put("b", 11), put("d", 14)],
    [put("d", 16), { kind: "delete", key: "c" }],
    [put("e", 13)],
    [{ kind: "compact" }, put("a", 21)],
    [{ kind: "compact" }, { kind: "delete", key: "e" }],
  ],
};

const fates = ["lost", "current", "old"] as const;
const tearings = ["nothing", "everything", "some"] as const;
/** Of what lives in segments that are compacted: some stay, with records of what has gone elsewhere. */
const limits = [0.1, 0.3, 0.5, 0.7] as const;
const pick = <T>(from: readonly T[], at: number): T => from[at] as T;

/** A schedule that follows from its seed. */
export function randomSchedule(seed: number): Schedule {
  const random = randomFrom(seed);
  const schedule = plainSchedule(seed, random);
  // So that seeds which once found something are still the histories that they were.
  if (seed % 4 === 1) return withUploads(schedule, random);
  return seed % 4 === 2 ? withMoves(withSecondBucket(schedule, random), random) : schedule;
}

/**
 * Uploads that end in each way, and objects of uploads that go or are changed, with so much in between that what began an upload
 * and what ended it stand in different segments, of which some are compacted.
 */
function withUploads(schedule: Schedule, random: Random): Schedule {
  let content = 2000 + random(1000);
  const large = () => {
    content += 5 - content % 5 + 3 + random(2);
    return content;
  };
  const changes = ["tag", "tag", "delete", "multipart"] as const;
  const fill: Step[][] = Array.from({ length: random(5) }, () => []);
  const groups = [...schedule.groups, ...fill].flatMap(
    (group, at): readonly (readonly Step[])[] => {
      const key = "u";
      const more: Step[] = [put("v", large())];
      const change = pick(changes, random(changes.length));
      if (at % 4 === 0) more.push({ kind: "upload", key, seed: large(), abort: false });
      else if (at % 4 === 1) more.push({ kind: "complete", key });
      else if (at % 4 === 2 && change === "multipart") {
        more.push({ kind: change, key, seed: large() });
      } else if (at % 4 === 2 && change !== "multipart") more.push({ kind: change, key });
      if (random(3) === 0) more.push({ kind: "upload", key: "w", seed: ++content, abort: true });
      const compact: Step = { kind: "compact", limit: pick(limits, random(limits.length)) };
      return random(3) === 0
        ? [[...group, ...more]]
        : [[...group, ...more], [put("x", large())], [compact]];
    },
  );
  return { ...schedule, groups, crash_at: random(1000) };
}

/** Three directories, which are more than the usual code needs, and two buckets of changing codes. */
function withSecondBucket(schedule: Schedule, random: Random): Schedule {
  const codes = [[1, 0], [1, 1], [2, 0], [2, 1], [1, 2]] as const;
  const any = (): Code => {
    const [k, m] = pick(codes, random(codes.length));
    return { k, m };
  };
  const at = random(schedule.groups.length);
  const groups = schedule.groups.map((group, index): readonly Step[] =>
    index === at ? [...group, { kind: "code", code: any() }] : group
  );
  return { ...schedule, ...any(), second: any(), directories: 3, groups };
}

/** Rules that move what is there, beside one group of steps in three. */
function withMoves(schedule: Schedule, random: Random): Schedule {
  const groups = schedule.groups.map((group): readonly Step[] =>
    random(3) === 0 ? [...group, { kind: "move" }] : group
  );
  return { ...schedule, groups };
}

function plainSchedule(seed: number, random: Random): Schedule {
  const groups: Step[][] = [];
  let content = 1 + random(1000);
  for (let at = 3 + random(6); at > 0; at--) {
    const keys = ["a", "b", "c", "d"];
    const group: Step[] = [];
    for (let many = 1 + random(3); many > 0; many--) {
      const [key = "a"] = keys.splice(random(keys.length), 1);
      const what = random(20);
      if (what < 9) group.push(put(key, ++content));
      else if (what < 13) group.push({ kind: "delete", key });
      else if (what < 15) group.push({ kind: "multipart", key, seed: ++content });
      else if (what < 16) group.push({ kind: "tag", key });
      else if (what < 19) group.push({ kind: "compact" });
      else group.push({ kind: "repair" });
    }
    groups.push(group);
  }
  const [k, m] = pick([[1, 0], [2, 1], [1, 1]] as const, random(3));
  return {
    seed,
    k,
    m,
    versioned: random(4) === 0,
    groups,
    crash_at: random(random(2) === 0 ? 60 : 240),
    tearing: pick(tearings, random(5) > 1 ? 2 : random(2)),
    index: pick(fates, random(4) > 1 ? 0 : 1 + random(2)),
  };
}

/** Every crash point of a scenario is one of these with `crash_at` from 0 to its operations. */
export function* variantsOf(
  groups: Schedule["groups"],
  seed: number,
): Generator<Omit<Schedule, "crash_at">> {
  for (const [k, m] of [[1, 0], [2, 1]] as const) {
    for (const tearing of tearings) {
      for (const index of fates) yield { seed, k, m, versioned: false, groups, tearing, index };
    }
  }
}
