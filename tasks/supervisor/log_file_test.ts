import assert from "node:assert/strict";
import { linesOf, LogFile, toLogLine } from "./log_file.ts";

Deno.test("a service's JSON line stays as it is, with its request id", () => {
  const text =
    '{"ts":"2026-01-01T00:00:00Z","level":"info","service":"x","event":"e","request_id":"r"}';
  assert.deepEqual(toLogLine(text, "x"), JSON.parse(text));
});

Deno.test("what is not a log line is wrapped into one, with the level that it tells", () => {
  const nats = toLogLine("[12] 2026/11/21 10:00:00.000001 [ERR] no space left", "nats");
  assert.equal(nats.level, "error");
  assert.equal(nats["text"], "no space left");
  assert.equal(nats.event, "output");
  assert.equal(toLogLine("{broken json", "x")["text"], "{broken json");
  assert.equal(toLogLine("\x1b[31merror\x1b[0m: Uncaught", "x").level, "error");
});

Deno.test("a log is bounded: it rotates, keeps so many files and loses no newest line", async () => {
  const directory = await Deno.makeTempDir();
  try {
    using file = new LogFile(`${directory}/x.log`, "x", 2_000, 2);
    for (let number = 0; number < 200; number++) file.write(`line ${number}`);
    const names = [...Deno.readDirSync(directory)].map((entry) => entry.name).sort();
    assert.deepEqual(names, ["x.log", "x.log.1", "x.log.2"]);
    const kept = ["x.log.2", "x.log.1", "x.log"].flatMap((name) =>
      Deno.readTextFileSync(`${directory}/${name}`).trim().split("\n")
    ).map((line) => Number(JSON.parse(line).text.split(" ")[1]));
    for (const name of names) assert.ok(Deno.statSync(`${directory}/${name}`).size <= 2_000);
    assert.equal(kept.at(-1), 199);
    assert.deepEqual(kept, kept.map((_, at) => (kept[0] ?? 0) + at), "without gaps");
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});

Deno.test("lines are cut from a stream wherever its chunks end", async () => {
  const stream = new Blob(["a\nb", "c\n\nd", "é\nend"]).stream();
  assert.deepEqual(await Array.fromAsync(linesOf(stream)), ["a", "bc", "dé", "end"]);
});
