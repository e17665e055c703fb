import assert from "node:assert/strict";
import { ListAnswer, listItem, readListIndex } from "./list_answer.ts";

interface Shown {
  readonly Things: readonly { readonly Name: string }[];
  readonly NextToken?: string;
}
const decoder = new TextDecoder();

for (const names of [[], ["a"], ["a", 'ü "quoted", ]}', "c"]]) {
  for (const rest of [{}, { NextToken: "more" }]) {
    Deno.test(`a list of ${names.length} with ${JSON.stringify(rest)} is plain JSON, and its header finds each item`, () => {
      const things = names.map((Name) => ({ Name }));
      const answer = new ListAnswer<Shown>("Things", things.map(listItem), rest);
      const { data, header } = answer.encode();
      assert.deepEqual(JSON.parse(decoder.decode(data)), { Things: things, ...rest });
      const index = readListIndex(header, data.length);
      assert.ok(index);
      assert.equal(index.member, "Things");
      let at = index.start;
      for (const [place, length] of index.lengths.entries()) {
        const item = JSON.parse(decoder.decode(data.subarray(at, at + length)));
        assert.deepEqual(item, things[place]);
        assert.equal(index.keys[place], listItem(things[place]).key);
        at += length + 1;
      }
      assert.equal(decoder.decode(data.subarray(index.end, index.end + 1)), "]");
    });
  }
}

Deno.test("a header that does not fit its message is none", () => {
  const { data, header } = new ListAnswer<Shown>("Things", [listItem({ Name: "a" })]).encode();
  assert.equal(readListIndex("", data.length), undefined);
  assert.equal(readListIndex(header, data.length - 2), undefined);
  assert.equal(readListIndex("Things x 5 k", data.length), undefined);
});
