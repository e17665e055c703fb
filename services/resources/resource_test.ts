import assert from "node:assert/strict";
import { startNats, testLog } from "../../tests/kit/nats.ts";
import { seeded } from "../../tests/kit/random.ts";
import { systemContext } from "../bus/subject.ts";
import { incorrectState } from "./errors.ts";
import { newId } from "./ids.ts";
import { usualLimits } from "./paging.ts";
import { Resources, type ResourceType } from "./resource.ts";

interface Disk {
  readonly id: string;
  readonly account_id: string;
  readonly state: string;
  readonly public?: boolean;
  readonly tags: Readonly<Record<string, string>>;
}

const diskType = (bucket: string): ResourceType<Disk> => ({
  name: "volume",
  idPrefix: "vol-",
  errors: {
    notFound: "InvalidVolume.NotFound",
    malformed: "InvalidParameterValue",
    noun: "volume",
  },
  bucket,
  id: (disk) => disk.id,
  states: ["available", "gone"],
  attributes: { status: (disk) => disk.state },
  page: { ...usualLimits, idsParameter: "volumeSet" },
  shared: (disk) => disk.public === true,
  gone: (disk) => disk.state === "gone",
});

const alice = { ...systemContext(600_000), account_id: "111111111111" };
const bob = { ...systemContext(600_000), account_id: "222222222222" };
const action = "DescribeVolumes" as const;
const disk = (account: { account_id: string }, more: Partial<Disk> = {}): Disk => ({
  id: newId("vol-"),
  account_id: account.account_id,
  state: "available",
  tags: {},
  ...more,
});

Deno.test("resources in a real state store", async (t) => {
  await using nats = await startNats();
  const bus = await nats.bus();

  await t.step("an account sees its own, what is shared, and nothing else", async () => {
    await using disks = await Resources.open(diskType("visible"), bus, testLog);
    const mine = await disks.create(disk(alice));
    const shared = await disks.create(disk(bob, { public: true }));
    const secret = await disks.create(disk(bob));
    const { records } = await disks.describe({ action }, alice);
    assert.deepEqual(records.map((one) => one.id).sort(), [mine.id, shared.id].sort());
    assert.equal((await disks.describe({ action, ids: [shared.id] }, alice)).records.length, 1);
    await assert.rejects(disks.describe({ action, ids: [secret.id] }, alice), {
      code: "InvalidVolume.NotFound",
    });
    await assert.rejects(disks.require(alice.account_id, shared.id), {
      code: "InvalidVolume.NotFound",
    });
    await assert.rejects(disks.modify(alice.account_id, secret.id, (one) => one), {
      code: "InvalidVolume.NotFound",
    });
    await disks.modify(bob.account_id, shared.id, (one) => ({ ...one, public: false }));
    assert.equal((await disks.describe({ action }, alice)).records.length, 1);
  });

  await t.step("what is gone is found no more, and all missing ids are named", async () => {
    await using disks = await Resources.open(diskType("gone"), bus, testLog);
    const one = await disks.create(disk(alice));
    await disks.modify(alice.account_id, one.id, (now) => ({ ...now, state: "gone" }));
    assert.deepEqual((await disks.describe({ action }, alice)).records, []);
    const other = newId("vol-");
    await assert.rejects(disks.describe({ action, ids: [one.id, other] }, alice), {
      message: `The volume IDs '${one.id}, ${other}' do not exist`,
    });
    await assert.rejects(disks.describe({ action, ids: ["vol-xyz"] }, alice), {
      code: "InvalidParameterValue",
    });
    await assert.rejects(disks.describe({ action, ids: ["vol-0/../x"] }, alice), {
      code: "InvalidParameterValue",
    });
  });

  await t.step("pages neither repeat nor lose a record that stays, whatever changes", async () => {
    await using disks = await Resources.open(diskType("pages"), bus, testLog);
    await seeded(async (random) => {
      const stays = new Set<string>();
      const goes: Disk[] = [];
      for (let at = 0; at < 120; at++) {
        const made = await disks.create(disk(at % 3 === 0 ? bob : alice, { public: at % 6 === 0 }));
        if (made.account_id === bob.account_id && made.public !== true) continue;
        if (random.next() < 0.7) stays.add(made.id);
        else goes.push(made);
      }
      const seen: string[] = [];
      let nextToken: string | undefined;
      do {
        const page = await disks.describe({
          action,
          page: { MaxResults: 5 + random.below(10), NextToken: nextToken },
          filters: [{ Name: "status", Values: ["avail*"] }],
        }, alice);
        seen.push(...page.records.map((one) => one.id));
        nextToken = page.nextToken;
        const gone = goes.pop();
        if (gone !== undefined) await disks.delete(gone.account_id, gone.id);
        await disks.create(disk(alice));
      } while (nextToken !== undefined);
      assert.equal(new Set(seen).size, seen.length, "no record twice");
      for (const id of stays) assert.ok(seen.includes(id), `${id} was shown`);
    });
  });

  await t.step("a token is for its own account, action and filters only", async () => {
    await using disks = await Resources.open(diskType("tokens"), bus, testLog);
    for (let at = 0; at < 12; at++) await disks.create(disk(alice));
    const filters = [{ Name: "status", Values: ["available"] }];
    const { nextToken } = await disks.describe({ action, page: { MaxResults: 5 }, filters }, alice);
    assert.ok(nextToken);
    const refused = async (request: Parameters<typeof disks.describe>[0], who = alice) =>
      await assert.rejects(disks.describe(request, who), { code: "InvalidNextToken" });
    await refused({ action, page: { NextToken: nextToken } });
    await refused({ action, page: { NextToken: nextToken }, filters }, bob);
    await refused({ action: "DescribeVolumeStatus", page: { NextToken: nextToken }, filters });
    await refused({ action, page: { NextToken: nextToken.slice(0, -2) }, filters });
    await refused({ action, page: { NextToken: "bm8" }, filters });
    await refused({ action, page: { NextToken: "*".repeat(50) }, filters });
    await refused({ action, page: { NextToken: "A".repeat(5000) }, filters });
    const rest = await disks.describe({
      action,
      page: { MaxResults: 100, NextToken: nextToken },
      filters,
    }, alice);
    assert.equal(rest.records.length, 7);
    assert.equal(rest.nextToken, undefined);
  });

  await t.step("MaxResults has limits and does not go with ids", async () => {
    await using disks = await Resources.open(diskType("limits"), bus, testLog);
    const { id } = await disks.create(disk(alice));
    for (const maxResults of [-1, 0, 4, 1001]) {
      await assert.rejects(disks.describe({ action, page: { MaxResults: maxResults } }, alice), {
        code: "InvalidParameterValue",
      });
    }
    const tooMany = Array.from({ length: 1001 }, () => newId("vol-"));
    await assert.rejects(disks.describe({ action, ids: tooMany }, alice), {
      code: "InvalidParameterValue",
    });
    await assert.rejects(disks.describe({ action, page: { MaxResults: 5 }, ids: [id] }, alice), {
      code: "InvalidParameterCombination",
    });
  });

  await t.step("a page never outgrows the bus's largest message", async () => {
    await using disks = await Resources.open(diskType("large"), bus, testLog);
    const tags = Object.fromEntries(
      Array.from({ length: 50 }, (_, at) => [`${at}`.padEnd(128, "k"), "v".repeat(256)]),
    );
    for (let at = 0; at < 60; at++) await disks.create(disk(alice, { tags }));
    let count = 0;
    let nextToken: string | undefined;
    do {
      const page = await disks.describe({ action, page: { NextToken: nextToken } }, alice);
      assert.ok(JSON.stringify(page).length < bus.connection.info!.max_payload);
      count += page.records.length;
      nextToken = page.nextToken;
    } while (nextToken !== undefined);
    assert.equal(count, 60);
  });

  await t.step("a refusal is believed only when it rests on the newest record", async () => {
    const type = diskType("stale");
    await using disks = await Resources.open(type, bus, testLog);
    const { id } = await disks.create(disk(alice, { state: "busy" }));
    const key = disks.keyOf(alice.account_id, id);
    const real = disks.table.get.bind(disks.table);
    const old = real(key);
    let asked = 0;
    disks.table.get = (wanted) => asked++ < 2 && wanted === key ? old : real(wanted);
    await using other = await Resources.open(type, bus, testLog);
    await other.modify(alice.account_id, id, (one) => ({ ...one, state: "available" }));
    const second = await disks.modify(alice.account_id, id, (one) => {
      if (one.state === "busy") throw incorrectState("busy");
      return { ...one, state: "used" };
    });
    assert.equal(second.state, "used");
    assert.ok(asked >= 2, "the old copy was asked first");
  });
});
