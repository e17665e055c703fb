/** The actions that bucket policies may name, beside what the pinned client of AWS's says of its operations. */
import * as s3 from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { permissionsOf } from "../../services/predastore/s3/permissions.ts";
import { kindsOf } from "../../services/predastore/s3/policy_actions.ts";

const operations = Object.keys(s3).filter((name) => /.Command$/.test(name) && name !== "$Command")
  .map((name) => name.slice(0, -"Command".length));

/** Of other services, or of other kinds of buckets. */
const elsewhere = ["RenameObject", "WriteGetObjectResponse", "ListDirectoryBuckets"];

Deno.test("policy actions: each operation of AWS's client needs one that policies may name", () => {
  assert.ok(operations.length > 100);
  for (const operation of operations.filter((name) => !elsewhere.includes(name))) {
    const target = { bucket: "bucket", key: "key", query: new URLSearchParams() };
    const headers = new Headers({ "x-amz-copy-source": "bucket/key" });
    for (const { action } of permissionsOf(operation, target, headers)) {
      assert.ok(kindsOf(action) !== undefined, `${operation} needs ${action}`);
    }
  }
});

/** Every action that the client's own documentation names; what goes on after another colon is an event. */
async function documented(): Promise<Set<string>> {
  const types = new URL("../dist-types/", import.meta.resolve("@aws-sdk/client-s3"));
  const found = new Set<string>();
  for (const folder of ["commands/", "models/"]) {
    for await (const { name } of Deno.readDir(new URL(folder, types))) {
      if (!name.endsWith(".d.ts")) continue;
      const text = await Deno.readTextFile(new URL(folder + name, types));
      for (const [, action = ""] of text.matchAll(/<code>(s3:[A-Z][A-Za-z]+)<\/code>/g)) {
        found.add(action);
      }
    }
  }
  return found;
}

Deno.test("policy actions: each that AWS's client documents may be named", async () => {
  const actions = await documented();
  assert.ok(actions.has("s3:GetObjectVersion") && actions.size > 50, [...actions].join(" "));
  const unknown = [...actions].filter((action) => kindsOf(action) === undefined).sort();
  // Of these one is a condition and one an event.
  assert.deepEqual(unknown, ["s3:BucketTag", "s3:ReducedRedundancyLostObject"]);
});
