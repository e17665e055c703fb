/** ACLs that are none, as they are refused at AWS: before it is looked at whether the bucket lets anybody set one. */
import assert from "node:assert/strict";
import { assertAnswer } from "./answered.ts";
import { openDoor } from "./open_door.ts";

const ours = "123456789012".padStart(64, "0");
const logs = "http://acs.amazonaws.com/groups/s3/LogDelivery";
const fake = "http://acs.amazonaws.com/groups/s3/FakeGroup";

const invalid = (Message: string, ArgumentName: string, ArgumentValue: string) => ({
  Code: "InvalidArgument",
  Message,
  ArgumentName,
  ArgumentValue,
});
const unsupported = { Code: "AccessControlListNotSupported" };
const malformed = { Code: "MalformedACLError" };

const policy = (grantee: string, type: string, { owner = ours, permission = "WRITE" } = {}) =>
  `<AccessControlPolicy><Owner><ID>${owner}</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="${type}">${grantee}</Grantee><Permission>${permission}</Permission></Grant></AccessControlList></AccessControlPolicy>`;

Deno.test("ACLs on the wire: a canned one has a name of AWS's, and a refusal says nothing more", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "x");
  for (const line of ["PUT /bucket?acl", "PUT /bucket/key?acl", "PUT /bucket/other"]) {
    assertAnswer(
      await door.say(line, { "x-amz-acl": "fake-acl" }),
      400,
      invalid("", "x-amz-acl", "fake-acl"),
    );
  }
});

Deno.test("ACLs on the wire: grants in headers name somebody", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "x");
  for (const line of ["PUT /bucket?acl", "PUT /bucket/key?acl", "PUT /bucket/other"]) {
    for (
      const [value, answer] of [
        [`uri="${fake}"`, invalid("Invalid group uri", "uri", fake)],
        ['id="wrong-id"', invalid("Invalid id", "id", "wrong-id")],
        [
          'fakekey="1234"',
          invalid("Argument format not recognized", "x-amz-grant-write", 'fakekey="1234"'),
        ],
        [`uri="${logs}", id="wrong-id"`, invalid("Invalid id", "id", "wrong-id")],
        [`uri="${logs}", id="${ours}"`, unsupported],
        [`uri=${logs}`, unsupported],
        ['emailAddress="a@b.example"', unsupported],
      ] as const
    ) {
      assertAnswer(await door.say(line, { "x-amz-grant-write": value }), 400, answer);
    }
  }
});

Deno.test("ACLs on the wire: grants in documents name somebody, of a kind that there is", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  await door.say("PUT /bucket/key", {}, "x");
  for (const line of ["PUT /bucket?acl", "PUT /bucket/key?acl"]) {
    for (
      const [document, answer] of [
        [policy(`<URI>${logs}</URI>`, "Group", { permission: "WRONG" }), malformed],
        [
          policy(`<URI>${logs}</URI>`, "Group", { owner: "wrong-id", permission: "FULL_CONTROL" }),
          invalid("Invalid id", "CanonicalUser/ID", "wrong-id"),
        ],
        [policy(`<URI>${fake}</URI>`, "Group"), invalid("Invalid group uri", "Group/URI", fake)],
        [
          policy("<ID>wrong-id</ID>", "CanonicalUser"),
          invalid("Invalid id", "CanonicalUser/ID", "wrong-id"),
        ],
        [policy("<ID>wrong-id</ID>", "BadType"), malformed],
        [policy(`<URI>${logs}</URI>`, "Group"), unsupported],
      ] as const
    ) {
      assertAnswer(await door.say(line, {}, document), 400, answer);
    }
    const same = policy(`<ID>${ours}</ID>`, "CanonicalUser", { permission: "FULL_CONTROL" });
    assert.equal((await door.say(line, {}, same)).status, 200);
  }
});
