/**
 * A card whose power goes: every write and every rename may stop half-way, in each of the ways in which
 * FAT can be left, and U-Boot and systemd-boot then choose by their rules. Whatever happens, a whole
 * version must start, and never a version that failed once more than it was asked for.
 */
import assert from "node:assert/strict";
import { type BootPartition, forgetTrial, keep, readBootState, tryOnce } from "./boot_choice.ts";
import { readChoice, withChoice } from "./boot_variables.ts";
import { formatStore, parseStore, type Variable } from "./variable_store.ts";

class PowerCut extends Error {}

type Files = Map<string, Uint8Array<ArrayBuffer>>;

/** The states that a cut may leave a write in. */
function* cutWrite(files: Files, path: string, content: Uint8Array<ArrayBuffer>): Generator<Files> {
  yield new Map(files);
  for (const length of [0, 1, content.length >> 1, content.length]) {
    yield new Map(files).set(path, content.slice(0, length));
  }
}

/** The same for a rename: before, after, both names, neither of them. */
function* cutRename(files: Files, from: string, to: string): Generator<Files> {
  yield new Map(files);
  const content = files.get(from);
  assert.ok(content !== undefined);
  const both = new Map(files).set(to, content);
  yield both;
  const after = new Map(both);
  after.delete(from);
  yield after;
  const neither = new Map(files);
  neither.delete(from);
  neither.delete(to);
  yield neither;
}

/** A card that loses its power at the `cut`-th change and is left in the `kind`-th of the states. */
class Card implements BootPartition {
  changes = 0;
  /** Whether there was such a state; the caller goes on to the next change when not. */
  cutHappened = false;

  constructor(public files: Files, readonly cut = Infinity, readonly kind = 0) {}

  #change(states: Generator<Files>, whole: () => void): void {
    if (this.changes++ !== this.cut) return whole();
    const state = [...states][this.kind];
    if (state === undefined) return whole();
    this.files = state;
    this.cutHappened = true;
    throw new PowerCut();
  }

  list(folder: string): Promise<string[]> {
    const prefix = `${folder}/`;
    return Promise.resolve(
      [...this.files.keys()].filter((path) => path.startsWith(prefix))
        .map((path) => path.slice(prefix.length)),
    );
  }

  read(path: string): Promise<Uint8Array<ArrayBuffer> | undefined> {
    return Promise.resolve(this.files.get(path));
  }

  write(path: string, content: Uint8Array<ArrayBuffer>): Promise<void> {
    return Promise.try(() =>
      this.#change(cutWrite(this.files, path, content), () => this.files.set(path, content))
    );
  }

  rename(from: string, to: string): Promise<void> {
    return Promise.try(() => {
      const content = this.files.get(from);
      assert.ok(content !== undefined, `${from} is there to be renamed`);
      this.#change(cutRename(this.files, from, to), () => {
        this.files.set(to, content);
        this.files.delete(from);
      });
    });
  }
}

const text = (content: string) => new TextEncoder().encode(content);
const whole = (version: string) => text(`kernel image of ${version}`);

/** Entry 0, which U-Boot makes for the disk: it starts systemd-boot. */
const fromFactory: Variable[] = [
  {
    name: "Boot0000",
    vendor: "61dfe48bca93d211aa0d00e098032b8c",
    attributes: 7,
    time: 0n,
    data: text("disk"),
  },
  {
    name: "BootOrder",
    vendor: "61dfe48bca93d211aa0d00e098032b8c",
    attributes: 7,
    time: 0n,
    data: new Uint8Array(2),
  },
];

/** systemd-boot: the newest, those without an attempt left after all others. */
function systemdBoot(files: Files): string | undefined {
  const found = [...files.keys()].flatMap((path) => {
    const match = /^EFI\/Linux\/mulgaos_(\d+)(?:\+(\d+)(?:-\d+)?)?\.efi$/.exec(path);
    return match === null ? [] : [{ path, version: Number(match[1]), bad: match[2] === "0" }];
  });
  found.sort((a, b) => Number(a.bad) - Number(b.bad) || b.version - a.version);
  return found[0]?.path;
}

/** One start by U-Boot's rules. @returns the version that runs */
async function start(card: Card): Promise<string> {
  const bytes = card.files.get("ubootefi.var");
  const variables = bytes === undefined ? undefined : parseStore(bytes);
  const { order, next } = readChoice(variables ?? []);
  const candidates = [...order];
  if (variables !== undefined && next !== undefined) {
    // In place, as U-Boot writes.
    const rest = variables.filter(({ name }) => name !== "BootNext");
    await card.write("ubootefi.var", formatStore(rest));
    candidates.unshift(next);
  }
  const path = candidates.map((file) => `EFI/Linux/${file}`)
    .find((file) => card.files.has(file)) ?? systemdBoot(card.files);
  const content = path === undefined ? undefined : card.files.get(path);
  const version = /^kernel image of (\d+)$/.exec(new TextDecoder().decode(content))?.[1];
  assert.ok(version !== undefined, `what is started (${path}) is a whole kernel image`);
  return version;
}

function cardOf(store: Uint8Array<ArrayBuffer> | undefined, ...files: readonly string[]): Files {
  const card: Files = new Map(files.map((file) => {
    return [`EFI/Linux/${file}`, whole(/_(\d+)/.exec(file)?.[1] ?? "")];
  }));
  if (store !== undefined) card.set("ubootefi.var", store);
  return card;
}

/** What a card may look like on which version 1 runs. */
const beginnings: Readonly<Record<string, Files>> = {
  "no file of variables yet": cardOf(undefined, "mulgaos_1.efi"),
  "U-Boot's own entries alone": cardOf(formatStore(fromFactory), "mulgaos_1.efi"),
  "1 kept": cardOf(
    formatStore(withChoice(fromFactory, { order: ["mulgaos_1.efi"] })),
    "mulgaos_1.efi",
  ),
  "2 tried before": cardOf(
    formatStore(withChoice(fromFactory, { order: ["mulgaos_1.efi"] })),
    "mulgaos_1.efi",
    "mulgaos_2+0-1.efi",
  ),
  "a damaged file of variables": cardOf(text("garbage"), "mulgaos_1.efi", "mulgaos_2+0-1.efi"),
};

/** What systemd-sysupdate does: a version that is there already is not installed again. */
function install(card: Card, version: string): void {
  if ([...card.files.keys()].some((path) => path.includes(`mulgaos_${version}`))) return;
  card.files.set(`EFI/Linux/mulgaos_${version}+3-0.efi`, whole(version));
}

/** Installs and tries 2 from 1, starts it, and keeps it when it is healthy. @returns what runs in the end */
async function update(card: Card, healthy: boolean): Promise<string> {
  await keep(card, "1");
  install(card, "2");
  await tryOnce(card, { version: "2", running: "1" });
  const running = await start(card);
  assert.equal(running, "2", "the version to be tried is started");
  if (healthy) await keep(card, running);
  return await start(card);
}

/** Runs `update` with the power cut at each change in each way, and looks at the card that is left. */
async function atEachCut(
  beginning: Files,
  healthy: boolean,
  afterwards: (card: Card) => Promise<void>,
): Promise<number> {
  let cuts = 0;
  for (let cut = 0;; cut++) {
    let reached = false;
    for (let kind = 0;; kind++) {
      const card = new Card(new Map(beginning), cut, kind);
      try {
        await update(card, healthy);
      } catch (error) {
        if (!(error instanceof PowerCut)) throw error;
      }
      reached ||= card.changes > cut;
      if (!card.cutHappened) break;
      cuts++;
      await afterwards(new Card(card.files));
    }
    if (!reached) return cuts;
  }
}

for (const [name, beginning] of Object.entries(beginnings)) {
  Deno.test(`${name}: a healthy version is kept, an unhealthy one runs once`, async () => {
    assert.equal(await update(new Card(new Map(beginning)), true), "2");
    const card = new Card(new Map(beginning));
    assert.equal(await update(card, false), "1");
    for (let again = 0; again < 3; again++) assert.equal(await start(card), "1");
    const state = await readBootState(card, "1");
    assert.deepEqual(state, { good: "1", next: undefined, unproven: ["2"], onTrial: false });
  });

  Deno.test(`${name}: whenever the power goes, a whole version starts and the update can be done again`, async () => {
    const cuts = await atEachCut(beginning, true, async (card) => {
      const running = await start(card);
      if (running === "2") {
        // Started as asked for, or kept already: it is healthy and says so.
        await keep(card, "2");
        assert.equal(await start(card), "2");
        return;
      }
      assert.equal(running, "1");
      // A cut rename may have lost the new kernel image; then it is installed once more.
      assert.equal(await update(card, true), "2");
    });
    assert.ok(cuts > 15, `the power was cut ${cuts} times`);
  });

  Deno.test(`${name}: whenever the power goes, an unhealthy version runs at most once more`, async () => {
    const cuts = await atEachCut(beginning, false, async (card) => {
      const runs = [await start(card), await start(card), await start(card)];
      assert.ok(runs.slice(1).every((version) => version === "1"), `it ran ${runs}`);
    });
    assert.ok(cuts > 10, `the power was cut ${cuts} times`);
  });
}

Deno.test("keeping what is kept writes nothing, and a trial can be taken back", async () => {
  const card = new Card(new Map(beginnings["1 kept"]));
  assert.equal(await keep(card, "1"), false);
  assert.equal(card.changes, 0);
  install(card, "2");
  await tryOnce(card, { version: "2", running: "1" });
  assert.equal((await readBootState(card, "1")).next, "2");
  await forgetTrial(card);
  assert.equal(await start(card), "1");
});

Deno.test("a version that is not there, or runs already, is refused and nothing is changed", async () => {
  const card = new Card(new Map(beginnings["1 kept"]));
  await assert.rejects(tryOnce(card, { version: "3", running: "1" }), /install that version first/);
  await assert.rejects(tryOnce(card, { version: "1", running: "1" }), /running already/);
  await assert.rejects(keep(card, "9"), /no kernel image of version 9/);
  assert.equal(card.changes, 0);
});
