import assert from "node:assert/strict";
import { Random, seeded } from "../../tests/kit/random.ts";
import { compileFilters, compilePattern, filterLimits } from "./filters.ts";

interface Disk {
  readonly size: number;
  readonly state: string;
  readonly hosts: readonly string[];
  readonly tags: Readonly<Record<string, string>>;
}

const disk: Disk = {
  size: 80,
  state: "in-use",
  hosts: ["a-1", "b-2"],
  tags: { Name: "*amazon?\\", team: "blue" },
};
const attributes = {
  size: (one: Disk) => one.size,
  state: (one: Disk) => one.state,
  host: (one: Disk) => one.hosts,
  nothing: () => undefined,
};
const matches = (...filters: [string, ...string[]][]) =>
  compileFilters(
    filters.map(([Name, ...Values]) => ({ Name, Values })),
    attributes,
    (one: Disk) => one.tags,
  )(disk);

/** What a pattern means, straight from its definition and as slow as that. */
function meaning(pattern: string, text: string): boolean {
  if (pattern === "") return text === "";
  const [first, second] = pattern;
  if (first === "*") {
    for (let taken = 0; taken <= text.length; taken++) {
      if (meaning(pattern.slice(1), text.slice(taken))) return true;
    }
    return false;
  }
  if (first === "?") return text !== "" && meaning(pattern.slice(1), text.slice(1));
  if (first === "\\" && second !== undefined && "*?\\".includes(second)) {
    return text[0] === second && meaning(pattern.slice(2), text.slice(1));
  }
  return text[0] === first && meaning(pattern.slice(1), text.slice(1));
}

Deno.test("a pattern matches what its definition says, for any pattern and text", () => {
  seeded((random: Random) => {
    let both = 0;
    for (let round = 0; round < 20_000; round++) {
      const pattern = random.text("ab*?\\", 7);
      const text = random.text("ab*?\\", 7);
      const expected = meaning(pattern, text);
      assert.equal(compilePattern(pattern)(text), expected, `${pattern} on ${text}`);
      if (expected) both++;
    }
    assert.ok(both > 500, "enough of the cases match");
  });
});

Deno.test("a hostile pattern costs no more than its length times the text's", () => {
  // One that tries every way would not end.
  assert.equal(compilePattern("*a".repeat(127))("a".repeat(120) + "b".repeat(100_000)), false);
});

Deno.test("values are alternatives and filters must all hold", () => {
  assert.ok(matches(["state", "available", "in-use"], ["size", "80"]));
  assert.ok(!matches(["state", "in-use"], ["size", "8"]));
  assert.ok(matches(["host", "b-?"]));
  assert.ok(!matches(["host", "B-2"]), "text is case-sensitive");
  assert.ok(!matches(["nothing", "*"]), "what is not there matches nothing");
  assert.ok(matches());
});

Deno.test("tags are read by key, by value and one by one", () => {
  assert.ok(matches(["tag:team", "bl*"]));
  assert.ok(matches(["tag:Name", "\\*amazon\\?\\\\"]));
  assert.ok(!matches(["tag:Name", "\\*amazon\\?"]));
  assert.ok(matches(["tag-key", "te?m"]));
  assert.ok(matches(["tag-value", "blue"]));
  assert.ok(!matches(["tag:toString", "*"]), "an inherited member is no tag");
});

Deno.test("unknown names, no values and too much are refused", () => {
  const refused = (code: string, ...filters: [string, ...string[]][]) =>
    assert.throws(() => matches(...filters), { code });
  refused("InvalidParameterValue", ["colour", "blue"]);
  refused("InvalidParameterValue", ["toString", "x"]);
  refused("InvalidParameterValue", ["tag:", "x"]);
  refused("InvalidParameterValue", ["state"]);
  refused("InvalidParameterValue", ["state", "x".repeat(filterLimits.length + 1)]);
  refused("FilterLimitExceeded", ["state", ...Array(filterLimits.values + 1).fill("x")]);
  refused("FilterLimitExceeded", ...Array(filterLimits.filters + 1).fill(["state", "x"]));
  assert.throws(() => compileFilters([{ Values: ["x"] }], attributes), {
    message: "The filter 'null' is invalid",
  });
});
