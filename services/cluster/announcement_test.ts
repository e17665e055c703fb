import assert from "node:assert/strict";
import { pathsOf } from "../config/node_config.ts";
import {
  type Announcement,
  decodeAnnouncement,
  encodeAnnouncement,
  longestAnnouncement_bytes,
} from "./announcement.ts";
import { type NodeKey, openNodeKey } from "./node_key.ts";
import { Peers, silence_ms } from "./peers.ts";
import { seeded } from "../../tests/kit/random.ts";

async function newKey(): Promise<NodeKey> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-key-" });
  try {
    const paths = pathsOf(directory);
    await Deno.mkdir(paths.service("cluster"));
    return await openNodeKey(paths);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

const said: Omit<Announcement, "format" | "key"> = {
  cluster_id: "c-82d5",
  node_id: "n-rpi2",
  addr: "192.168.1.5:8443",
  host: "rpi2",
  version: "0.1.0",
  caps: ["ec2", "s3"],
  state: "alone",
  ts: 1_731_388_800,
};

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (of: string) => new TextEncoder().encode(of);

async function heard(datagram: Uint8Array): Promise<Announcement> {
  const result = await decodeAnnouncement(datagram);
  assert.ok("announcement" in result, JSON.stringify(result));
  return result.announcement;
}

/** A datagram with other words, signed as it should be. */
async function signed(members: Record<string, unknown>, key: NodeKey): Promise<Uint8Array> {
  const body = JSON.stringify(members).slice(0, -1);
  const signature = await key.sign(bytes(body));
  return bytes(`${body},"sig":"ed25519:${signature.toBase64()}"}`);
}

Deno.test("a node's key is made once and is the owner's alone", async () => {
  const directory = await Deno.makeTempDir({ prefix: "mulga-key-" });
  try {
    const paths = pathsOf(directory);
    await Deno.mkdir(paths.service("cluster"));
    const first = await openNodeKey(paths);
    assert.equal((await openNodeKey(paths)).publicKey, first.publicKey);
    const file = `${paths.service("cluster")}/node.key`;
    assert.equal((Deno.statSync(file).mode ?? 0) & 0o077, 0);
    Deno.writeTextFileSync(file, "x");
    await assert.rejects(openNodeKey(paths), /is damaged; remove it/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("an announcement has the agreed members, is JSON, and is read as it was said", async () => {
  const key = await newKey();
  const datagram = await encodeAnnouncement(said, key);
  assert.ok(datagram.length < 600, `${datagram.length}`);
  assert.deepEqual(await heard(datagram), { format: 1, ...said, key: key.publicKey });
  const json = JSON.parse(text(datagram));
  for (const member of ["cluster_id", "node_id", "addr", "version", "caps", "ts"] as const) {
    assert.deepEqual(json[member], said[member]);
  }
});

Deno.test("what a later release says more is no reason not to hear it; another form is not read", async () => {
  const key = await newKey();
  const whole = { format: 1, ...said, key: key.publicKey };
  const later = await signed({ ...whole, caps: ["ec2", "quantum"], rack: { row: 3 } }, key);
  assert.deepEqual((await heard(later)).caps, ["ec2"]);
  assert.deepEqual(await decodeAnnouncement(await signed({ ...whole, format: 2 }, key)), {
    refused: "other_format",
  });
});

Deno.test("no byte of an announcement can be changed", async () => {
  const key = await newKey();
  const datagram = await encodeAnnouncement(said, key);
  for (let at = 0; at < datagram.length; at++) {
    const changed = datagram.slice();
    changed[at] = (changed[at] ?? 0) ^ 1;
    const result = await decodeAnnouncement(changed);
    assert.ok("refused" in result, `byte ${at}`);
  }
});

Deno.test("hostile datagrams are refused by their reason and never thrown at", async () => {
  const key = await newKey();
  const whole = { format: 1, ...said, key: key.publicKey };
  const good = text(await encodeAnnouncement(said, key));
  const cases: [name: string, datagram: Uint8Array, why: string][] = [
    ["empty", new Uint8Array(), "malformed"],
    ["zeros", new Uint8Array(400), "malformed"],
    ["no UTF-8", new Uint8Array(400).fill(0xff), "malformed"],
    ["large", new Uint8Array(longestAnnouncement_bytes + 1).fill(0x20), "too_large"],
    ["deep", bytes("[".repeat(1_100)), "malformed"],
    ["a list", bytes(`[${good}]`), "malformed"],
    ["text after it", bytes(`${good} `), "malformed"],
    ["no name", await signed({ ...whole, node_id: "" }, key), "malformed"],
    [
      "a name with letters for terminals",
      await signed({ ...whole, host: "a\u001b[2J" }, key),
      "malformed",
    ],
    ["an address with a path", await signed({ ...whole, addr: "1.2.3.4:1/x" }, key), "malformed"],
    ["a fraction of a second", await signed({ ...whole, ts: 1.5 }, key), "malformed"],
    ["no list of capabilities", await signed({ ...whole, caps: "ec2" }, key), "malformed"],
    ["an unknown state", await signed({ ...whole, state: "king" }, key), "malformed"],
    [
      "another's key",
      await signed({ ...whole, key: (await newKey()).publicKey }, key),
      "bad_signature",
    ],
    [
      "the key of nobody",
      await signed({ ...whole, key: `${"A".repeat(43)}=` }, key),
      "bad_signature",
    ],
    [
      "a list of prototypes",
      await signed({ ...whole, __proto__: null, format: "1" }, key),
      "malformed",
    ],
  ];
  for (const [name, datagram, why] of cases) {
    assert.deepEqual(await decodeAnnouncement(datagram), { refused: why }, name);
  }
});

Deno.test("random datagrams are refused", () =>
  seeded(async (source) => {
    const key = await newKey();
    const good = await encodeAnnouncement(said, key);
    const random = (below: number) => source.below(below);
    for (let round = 0; round < 2_000; round++) {
      const mutant = [...good];
      for (let change = random(5) + 1; change > 0; change--) {
        const at = random(mutant.length);
        if (random(2) === 0) mutant.splice(at, random(30) + 1);
        else mutant.splice(at, 0, random(256));
      }
      const datagram = new Uint8Array(mutant);
      const result = await decodeAnnouncement(datagram);
      const same = datagram.length === good.length &&
        datagram.every((byte, at) => byte === good[at]);
      assert.equal("refused" in result, !same, `round ${round}`);
    }
  }));

const from = (node_id: string, more: Partial<Announcement> = {}): Announcement => ({
  format: 1,
  ...said,
  node_id,
  key: "a",
  ...more,
});

Deno.test("a peer is new once, known after that, and forgotten when it falls silent", () => {
  const peers = new Peers();
  assert.equal(peers.hear(from("n-1", { ts: 1 }), 1_000).kind, "new");
  assert.equal(peers.hear(from("n-1", { ts: 2 }), 2_000).kind, "known");
  assert.equal(peers.hear(from("n-1", { ts: 3, state: "member" }), 3_000).kind, "changed");
  assert.deepEqual(
    peers.list().map(({ node_id, first_heard_ms, last_heard_ms }) => [
      node_id,
      first_heard_ms,
      last_heard_ms,
    ]),
    [["n-1", 1_000, 3_000]],
  );
  assert.equal(peers.forgetSilent(3_000 + silence_ms).length, 0);
  assert.equal(peers.forgetSilent(3_001 + silence_ms).length, 1);
  assert.equal(peers.hear(from("n-1", { ts: 40 }), 40_000).kind, "new");
});

Deno.test("a recording of an older announcement does not speak for its node", () => {
  const peers = new Peers();
  peers.hear(from("n-1", { ts: 100 }), 1_000);
  assert.equal(peers.hear(from("n-1", { ts: 99, state: "member" }), 1_500).kind, "replayed");
  assert.equal(peers.list()[0]?.state, "alone");
});

Deno.test("a recording keeps no node alive that is gone, and does not bring it back", () => {
  const peers = new Peers();
  const last = from("n-1", { ts: 100 });
  assert.equal(peers.hear(last, 1_000).kind, "new");
  // The same words over another network are no news.
  assert.equal(peers.hear(last, 1_100).kind, "known");
  for (let now = 5_000; now <= 1_000 + silence_ms; now += 5_000) peers.hear(last, now);
  assert.equal(peers.forgetSilent(1_001 + silence_ms).length, 1);
  assert.equal(peers.hear(last, 1_002 + silence_ms).kind, "replayed");
  assert.equal(peers.size, 0);
});

Deno.test("a node whose clock was set back is heard again after its silence, once an hour", () => {
  const hour_ms = 3_600_000;
  const peers = new Peers();
  peers.hear(from("n-1", { ts: 9_000 }), 0);
  assert.equal(peers.hear(from("n-1", { ts: 100 }), 5_000).kind, "replayed");
  assert.equal(peers.hear(from("n-1", { ts: 126 }), silence_ms + 1_000).kind, "new");
  assert.equal(peers.hear(from("n-1", { ts: 131 }), silence_ms + 6_000).kind, "known");
  // Recordings of before and after that, in turns, show it a moment longer and not for ever.
  let shown = 0;
  for (let now = 3 * silence_ms; now < hour_ms; now += 2 * silence_ms) {
    if (peers.hear(from("n-1", { ts: 126 }), now).kind === "new") shown++;
    if (peers.hear(from("n-1", { ts: 131 }), now + 1).kind === "new") shown++;
  }
  assert.equal(shown, 0);
  assert.equal(peers.hear(from("n-1", { ts: 132 }), hour_ms).kind, "new");
});

Deno.test("another key under a known name is noticed and changes nothing, even after a silence", () => {
  const peers = new Peers();
  peers.hear(from("n-1", { key: "a" }), 1_000);
  assert.equal(peers.hear(from("n-1", { key: "b" }), 2_000).kind, "other_key");
  assert.equal(peers.hear(from("n-1", { key: "b" }), 2_000 + 2 * silence_ms).kind, "other_key");
  const later = from("n-1", { key: "a", ts: said.ts + 60 });
  assert.equal(peers.hear(later, 3_000 + 2 * silence_ms).kind, "new");
});

Deno.test("names without end neither fill the memory nor push out who speaks", () => {
  const peers = new Peers();
  peers.hear(from("n-0"), 1);
  let full = 0;
  for (let at = 1; at < 5_000; at++) {
    if (peers.hear(from(`n-${at}`), 2).kind === "full") full++;
  }
  assert.equal(peers.size, 256);
  assert.equal(full, 5_000 - 256);
  assert.equal(peers.hear(from("n-0"), 3).kind, "known");
});
