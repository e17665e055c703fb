import assert from "node:assert/strict";
import {
  checkTags,
  mergeTags,
  showTags,
  tagLimits,
  tagsFromSpecifications,
  withoutTags,
} from "./tags.ts";

const many = (count: number) => Array.from({ length: count }, (_, at) => ({ Key: `k${at}` }));

Deno.test("tags keep EC2's limits", () => {
  assert.deepEqual(checkTags([{ Key: "a", Value: "1" }, { Key: "b" }]), { a: "1", b: "" });
  assert.equal(Object.keys(checkTags(many(tagLimits.perResource))).length, tagLimits.perResource);
  assert.throws(() => checkTags(many(tagLimits.perResource + 1)), { code: "TagLimitExceeded" });
  assert.throws(() => checkTags([{ Key: "aws:x" }]), { code: "InvalidParameterValue" });
  assert.throws(() => checkTags([{ Key: "AWS:x" }]), { code: "InvalidParameterValue" });
  assert.throws(() => checkTags([{ Key: "a" }, { Key: "a" }]), { code: "InvalidParameterValue" });
  assert.throws(() => checkTags([{ Key: "" }]), { code: "MissingParameter" });
  assert.throws(() => checkTags([{ Key: "😀".repeat(129) }]), { code: "InvalidParameterValue" });
  assert.throws(() => checkTags([{ Key: "a", Value: "v".repeat(257) }]), {
    code: "InvalidParameterValue",
  });
  assert.ok(checkTags([{ Key: "😀".repeat(128), Value: "v".repeat(256) }]));
});

Deno.test("a key such as __proto__ is a tag like any other", () => {
  const tags = checkTags([{ Key: "__proto__", Value: "x" }]);
  assert.deepEqual(showTags(tags), [{ Key: "__proto__", Value: "x" }]);
  assert.deepEqual(showTags(mergeTags({ a: "1" }, tags)).length, 2);
});

Deno.test("merging replaces by key and counts what results", () => {
  const full = checkTags(many(tagLimits.perResource));
  assert.equal(mergeTags(full, { k0: "new" })["k0"], "new");
  assert.throws(() => mergeTags(full, { another: "" }), { code: "TagLimitExceeded" });
});

Deno.test("a tag deleted with a value goes only when it has that value", () => {
  const present = { a: "1", b: "2", c: "3" };
  assert.deepEqual(withoutTags(present, [{ Key: "a", Value: "1" }, { Key: "b", Value: "x" }]), {
    b: "2",
    c: "3",
  });
  assert.deepEqual(withoutTags(present, [{ Key: "c" }]), { a: "1", b: "2" });
  assert.deepEqual(withoutTags(present, []), {});
});

Deno.test("tag specifications are for what the action makes, once each", () => {
  const specification = (type: string) => ({
    ResourceType: type as "volume",
    Tags: [{ Key: "a", Value: "1" }],
  });
  assert.deepEqual(tagsFromSpecifications([specification("volume")], ["volume", "instance"]), {
    volume: { a: "1" },
    instance: {},
  });
  assert.throws(() => tagsFromSpecifications([specification("image")], ["volume"]), {
    code: "InvalidParameterValue",
  });
  assert.throws(
    () => tagsFromSpecifications([specification("volume"), specification("volume")], ["volume"]),
    { code: "InvalidParameterValue" },
  );
  assert.throws(() => tagsFromSpecifications([{ ResourceType: "volume" }], ["volume"]), {
    code: "InvalidParameterValue",
  });
});
