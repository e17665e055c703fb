/** The actions that bucket policies may name, beside what the pinned client of AWS's says of its operations. */
import * as s3 from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { permissionsOf } from "../../services/predastore/s3/permissions.ts";
import { kindsOf } from "../../services/predastore/s3/policy_actions.ts";
import { requestConditions } from "../../services/predastore/s3/request_conditions.ts";

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

Deno.test("policy actions: a request that asks for more than one thing needs each", () => {
  const needs = (operation: string, query: string, headers: Record<string, string> = {}) => {
    const target = { bucket: "bucket", key: "key", query: new URLSearchParams(query) };
    return permissionsOf(operation, target, new Headers(headers))
      .map(({ action }) => action.slice("s3:".length));
  };
  assert.deepEqual(needs("GetObjectAttributes", ""), ["GetObject", "GetObjectAttributes"]);
  assert.deepEqual(needs("GetObjectAttributes", "versionId=null"), [
    "GetObjectVersion",
    "GetObjectVersionAttributes",
  ]);
  assert.deepEqual(needs("CreateBucket", ""), ["CreateBucket"]);
  assert.deepEqual(needs("CreateBucket", "", { "x-amz-bucket-object-lock-enabled": "false" }), [
    "CreateBucket",
  ]);
  const both = {
    "x-amz-bucket-object-lock-enabled": "true",
    "x-amz-object-ownership": "BucketOwnerEnforced",
  };
  assert.deepEqual(needs("CreateBucket", "", both), [
    "CreateBucket",
    "PutBucketObjectLockConfiguration",
    "PutBucketVersioning",
    "PutBucketOwnershipControls",
  ]);
});

Deno.test("policy actions: a copy's source is one and the same to a policy, however it is written", () => {
  const query = new URLSearchParams();
  const seen = (source: string) => {
    const headers = new Headers({ "x-amz-copy-source": source });
    const asked = { headers, query, signed: undefined, account_id: undefined };
    return requestConditions(asked)["s3:x-amz-copy-source"];
  };
  const written = ["from/private/a b", "/from/private/a%20b", "from%2Fprivate/a%20b"];
  for (const source of [...written, "from/%70rivate/a%20b?versionId=null"]) {
    assert.equal(seen(source), "from/private/a b", source);
  }
  assert.equal(seen("from/%zz"), "from/%zz");
});
