import assert from "node:assert/strict";
import { join } from "node:path";
import {
  readSeed,
  readUserData,
  type Seed,
  SeedError,
  seedRule,
  seedSchema,
  withoutSecrets,
} from "./seed.ts";
import type { Rule } from "./seed/rule.ts";
import { seeded } from "../../tests/kit/random.ts";

const examples = new URL("../../cloud-init/", import.meta.url).pathname;
const example = (name: string) => Deno.readFileSync(join(examples, name));
const bytes = (text: string) => new TextEncoder().encode(text);
const read = (text: string) => readSeed(bytes(text), "mulga.yaml");

/** Every refusal is one sentence with its place; anything else that is thrown is a crash. */
function refusal(text: string): string {
  try {
    read(text);
  } catch (error) {
    assert.ok(error instanceof SeedError, `${error}`);
    assert.equal(error.message.split("\n").length, 1, error.message);
    return error.message;
  }
  throw new assert.AssertionError({ message: `not refused: ${text.slice(0, 200)}` });
}

Deno.test("every example is a seed", () => {
  let seen = 0;
  for (const { name } of Deno.readDirSync(examples)) {
    if (!name.endsWith(".yaml")) continue;
    seen++;
    assert.equal(readSeed(example(name), name)?.version, 1, name);
  }
  assert.ok(seen >= 5);
  assert.equal(readUserData(example("user-data"), "user-data")?.hostname, "node1");
});

Deno.test("the documented example names every key that a seed knows", () => {
  const text = new TextDecoder().decode(example("mulga.yaml"));
  const walk = (rule: Rule<unknown>): string[] =>
    Object.entries(rule.inside ?? {}).flatMap(([name, inner]) => [name, ...walk(inner)]);
  for (const key of new Set(walk(seedRule))) {
    assert.match(text, new RegExp(`(^|[\\s{-])${key}:`, "m"), key);
  }
});

Deno.test("the editors' schema is what the definition says", () => {
  const stored = JSON.parse(new TextDecoder().decode(example("seed.schema.json")));
  assert.deepEqual(
    stored,
    JSON.parse(JSON.stringify(seedSchema())),
    "write it anew: deno task -q hive seed schema > cloud-init/seed.schema.json",
  );
});

Deno.test("what a person mistypes is told with line, column and what to do", () => {
  const cases: [text: string, message: string][] = [
    [
      "version: 1\nhostnam: a\n",
      `line 2, column 1: the seed knows no "hostnam"; did you mean "hostname"?`,
    ],
    [
      "version: 1\nnetwork:\n  interfaces:\n    - name: e0\n      dhpc: true\n",
      `line 5, column 7: "network.interfaces[0]" knows no "dhpc"; did you mean "dhcp"?`,
    ],
    [
      "version: 1\nhostname: 12\n",
      `line 2, column 11: "hostname" must be a host name of letters, digits and hyphens such as node1; put it in quotes if it is meant so.`,
    ],
    ["version: 1\nhostname: -x\n", `line 2, column 11: "hostname" must be a host name`],
    ["hostname: a\n", `line 1, column 1: the seed needs "version"`],
    ["version: 2\nnew: 1\n", `this seed has version 2, and this release reads version 1`],
    ["version: 1\nversion: 1\n", `line 2, column 1: "version" stands in the seed twice`],
    ["version: 1\nupdate: {automatic: yes}\n", `must be true or false, not "yes"`],
    ["version: 1\nregion: mars\n", `"region" must be a region such as ap-southeast-2, not "mars"`],
    [
      "version: 1\nregion: eu-north-1\naz: us-east-1a\n",
      `line 3, column 1: "az" us-east-1a is no zone of the region eu-north-1`,
    ],
    ["version: 1\naz: us-east-1a\n", `give its "region" too`],
    [
      "version: 1\nnetwork: {interfaces: [{name: a, mac: '52:54:00:12:34:56'}]}\n",
      `by "name" or by "mac"`,
    ],
    [
      "version: 1\nnetwork: {interfaces: [{name: a, dhcp: false}]}\n",
      `without DHCP the interface needs "addresses"`,
    ],
    [
      "version: 1\nnetwork: {interfaces: [{name: a, addresses: [10.0.0.2]}]}\n",
      `an address with its network such as 192.168.1.10/24, not "10.0.0.2"`,
    ],
    [
      "version: 1\nnetwork: {interfaces: [{name: a, addresses: [10.0.0.2/24], gateway: 10.0.1.1}]}\n",
      `the gateway 10.0.1.1 lies in none of the networks of 10.0.0.2/24`,
    ],
    ["version: 1\nnetwork: {interfaces: [{name: a}, {name: a}]}\n", `repeats the interface a`],
    ["version: 1\ncluster: {nodes: 3}\n", `needs "token"`],
    [
      "version: 1\nstorage: {blobs: [/a, /b], data_shards: 2, parity_shards: 1}\n",
      `need 3 directories in "blobs", not 2`,
    ],
    ["version: 1\nstorage: {blobs: [/a/../etc]}\n", `an absolute path without ..`],
    ["version: 1\nupdate: {automatic: true}\n", `need "source"`],
    ["version: 1\ninstall: {unattended: true}\n", `needs "target"`],
    ["version: 1\ninstall: {target: {min_gib: 9, max_gib: 2}}\n", `no disk fits`],
    ["version: 1\nssh:\n", `line 2, column 1: "ssh" has no value`],
    ["version: 1\nssh: {keys: ['from=\"*\" ssh-rsa AAAA']}\n", `a public key such as`],
    ["version: 1\nhostname: a: b\n", `this is not valid YAML`],
    ["version: 1\n\thostname: a\n", `this is not valid YAML`],
    ["version: 1\n---\nversion: 1\n", `line 2, column 1: a second document`],
    ["- a\n", `the seed must hold settings such as "version: …".`],
    ["version: 1\nhostname: &a x\nregion: *a\n", `line 3, column 9: aliases (*a) are not read`],
    ["version: 1\nhostname: a\0b\n", `line 2, column 12: the control character 0x00`],
    ["version: 1\n<<: {hostname: a}\n", `knows no "<<"`],
    ["version: 1\n__proto__: {a: 1}\n", `knows no "__proto__"`],
    ['version: 1\n"\\e[31m\\n": 1\n', `knows no "\\u001b[31m\\n"`],
    ["version: 1\n? [a, b]\n: c\n", `the seed knows no`],
    [
      "version: 1\nadmin: {access_key_id: AKIAEXAMPLEEXAMPLE22, secret_access_key: hush}\n",
      `not what stands there`,
    ],
  ];
  for (const [text, message] of cases) {
    const said = refusal(text);
    assert.ok(said.includes(message), `${JSON.stringify(text)}: ${said}`);
    assert.match(said, /^mulga\.yaml, line \d+, column \d+: .*[.?]$/);
    assert.ok(!said.includes("hush"));
  }
});

Deno.test("files that are no text, too large or in another encoding are refused in one sentence", () => {
  const fails = (of: Uint8Array) => {
    try {
      readSeed(of, "mulga.yaml");
    } catch (error) {
      assert.ok(error instanceof SeedError);
      return error.message;
    }
    return "";
  };
  assert.match(fails(new Uint8Array(1 << 20)), /at most 65536/);
  assert.match(fails(new Uint8Array([0xff, 0xfe, 0x76, 0])), /UTF-16/);
  assert.match(fails(new Uint8Array([0x76, 0xc3, 0x28])), /no UTF-8/);
});

Deno.test("what other editors do to a file does not matter: marks, line ends, comments alone", () => {
  assert.deepEqual(read("\ufeffversion: 1\r\nhostname: a\r\n"), { version: 1, hostname: "a" });
  assert.equal(read(""), undefined);
  assert.equal(read("# nothing\n\n# here\n"), undefined);
  assert.equal(read("---\n"), undefined);
});

Deno.test("an alias bomb, a deep nest and a long list of keys are refused at once", () => {
  const bomb = ["a: &a [x, x]"];
  for (let at = 1; at < 40; at++) {
    const [name, before] = [`k${at}`, at === 1 ? "a" : `k${at - 1}`];
    bomb.push(`${name}: &${name} [*${before}, *${before}, *${before}, *${before}]`);
  }
  refusal(`${bomb.join("\n")}\n`);
  assert.match(refusal(`version: 1\nhostname: ${"[".repeat(60_000)}\n`), /deeper|valid YAML/);
  assert.match(
    refusal(`version: 1\nhostname: ${"[".repeat(30_000)}${"]".repeat(30_000)}\n`),
    /deeper/,
  );
  refusal(`${"- ".repeat(30_000)}a\n`);
  refusal(`${"? ".repeat(30_000)}a\n`);
  refusal(`${"{a: ".repeat(15_000)}${"}".repeat(1_000)}\n`);
  refusal(Array.from({ length: 8_000 }, (_, at) => `k${at}: 1`).join("\n"));
});

Deno.test("user-data is a seed by its first line or by its key, and else somebody else's", () => {
  const of = (text: string) => readUserData(bytes(text), "user-data");
  assert.equal(of("#mulga\nversion: 1\nhostname: a\n")?.hostname, "a");
  assert.equal(of("#cloud-config\nusers: &u [x]\nmore: *u\nmulga:\n  version: 1\n")?.version, 1);
  assert.equal(of("#cloud-config\nusers: [default]\n"), undefined);
  assert.equal(of("#!/bin/sh\necho version: 1\n"), undefined);
  assert.equal(of("#mulgaXversion: 1\n"), undefined);
  assert.throws(
    () => of("#cloud-config\nmulga:\n  version: 1\n  hostnam: a\n"),
    /^SeedError: user-data, line 4, column 3: the seed knows no "hostnam"/,
  );
  assert.throws(() => of("#cloud-config\nmulga:\n"), SeedError);
  // Whoever wrote this meant something by it.
  const wide = (text: string) => [...text].flatMap((letter) => [letter.charCodeAt(0), 0]);
  assert.throws(
    () => readUserData(new Uint8Array([0xff, 0xfe, ...wide("#mulga\n")]), "user-data"),
    /^SeedError: user-data is UTF-16 text; save it as UTF-8/,
  );
});

Deno.test("what a refusal repeats of a seed cannot steer the screen that shows it", () => {
  const said = refusal('version: 1\nhostname: "a\\x9b2J\\e[2J\\u202e"\n');
  assert.match(said, /"hostname" must be .* not "a\\u009b2J\\u001b\[2J\\u202e"/);
});

Deno.test("a seed that is kept holds no secret", () => {
  const seed = readSeed(example("mulga.yaml"), "mulga.yaml") as Seed;
  const kept = JSON.stringify(withoutSecrets(seed));
  assert.ok(seed.cluster?.token !== undefined && seed.admin !== undefined);
  assert.ok(!kept.includes(seed.cluster.token));
  assert.ok(!kept.includes(seed.admin.secret_access_key));
  assert.ok(kept.includes("eu-north-1a"));
});

Deno.test("whatever bytes a seed is made of, it is read or refused in one sentence", () =>
  seeded((source) => {
    const random = (below: number) => source.below(below);
    const starts = ["mulga.yaml", "static-network.yaml", "user-data"].map((
      name,
    ) => [...example(name)]);
    const pieces = [
      "\0",
      "\t",
      "- ",
      ": ",
      "{",
      "}",
      "[",
      "]",
      "&a",
      "*a",
      "!!binary ",
      "|\n",
      ">\n",
      "\n---\n",
      "'",
      '"',
      "#",
      "? ",
      "<<: ",
      "%YAML 1.1\n",
      "\ufeff",
      "\u2028",
      "9e999",
      "0x1",
      "~",
    ]
      .map((piece) => [...bytes(piece)]);
    for (let round = 0; round < 1_500; round++) {
      const mutant = [...starts[random(starts.length)] ?? []];
      for (let change = random(6) + 1; change > 0; change--) {
        const at = random(mutant.length);
        const kind = random(4);
        if (kind === 0) mutant.splice(at, random(40));
        else if (kind === 1) mutant[at] = random(256);
        else if (kind === 2) mutant.splice(at, 0, ...pieces[random(pieces.length)] ?? []);
        else mutant.splice(at, 0, ...mutant.slice(random(mutant.length), random(mutant.length)));
      }
      for (const reader of [readSeed, readUserData]) {
        try {
          reader(new Uint8Array(mutant), "mulga.yaml");
        } catch (error) {
          assert.ok(error instanceof SeedError, `round ${round}: ${error}`);
          assert.ok(!error.message.includes("\n"), `round ${round}`);
        }
      }
    }
  }));
