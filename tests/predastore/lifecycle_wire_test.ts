/** Lifecycle configurations as they are refused at AWS: by which code, in which words. */
import assert from "node:assert/strict";
import { elementOf } from "./answered.ts";
import { type OpenDoor, openDoor } from "./open_door.ts";

const expires = "<Expiration><Days>30</Days></Expiration>";
const rule = (inner: string, status = "Enabled") =>
  `<Rule><Status>${status}</Status>${inner}</Rule>`;
const filter = (inner: string) => `<Filter>${inner}</Filter>`;
const prefix = (of: string) => `<Prefix>${of}</Prefix>`;
const tag = (key: string, value = "1") => `<Tag><Key>${key}</Key><Value>${value}</Value></Tag>`;
const noncurrent = (days: number, more = "") =>
  `<NoncurrentVersionExpiration><NoncurrentDays>${days}</NoncurrentDays>${more}</NoncurrentVersionExpiration>`;
const all = filter(prefix(""));

const put = ({ say }: OpenDoor, rules: string, headers: Record<string, string> = {}) =>
  say(
    "PUT /bucket?lifecycle",
    headers,
    `<LifecycleConfiguration>${rules}</LifecycleConfiguration>`,
  );

type Case = readonly [rules: string, code: string, message?: string];

async function refuses(cases: readonly Case[]): Promise<void> {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  for (const [rules, code, message] of cases) {
    const answer = await put(door, rules);
    assert.equal(elementOf(answer.text, "Code"), code, `${rules}\n${answer.text}`);
    if (message !== undefined) assert.equal(elementOf(answer.text, "Message"), message);
    assert.equal(answer.status, 400);
  }
  assert.equal((await door.say("GET /bucket?lifecycle")).status, 404);
}

Deno.test("lifecycle on the wire: a filter has one form, and And at least two conditions", () =>
  refuses([
    [rule(prefix("") + all + expires), "MalformedXML"],
    [rule(filter(`<And>${prefix("a")}</And>`) + expires), "MalformedXML"],
    [rule(filter(`<And>${tag("a")}</And>`) + expires), "MalformedXML"],
    [rule(filter("<And/>") + expires), "MalformedXML"],
    [
      rule(all + expires) + rule(prefix("a") + expires),
      "InvalidRequest",
      "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the Filter.",
    ],
    [
      rule(prefix("a") + expires) + rule(all + expires),
      "InvalidRequest",
      "Filter element can only be used in Lifecycle V2.",
    ],
    [
      rule(prefix("a") + noncurrent(1, "<NewerNoncurrentVersions>1</NewerNoncurrentVersions>")),
      "InvalidRequest",
      "NewerNoncurrentVersions element can only be used in Lifecycle V2.",
    ],
    [
      rule(prefix("ab") + expires) + rule(prefix("a") + expires),
      "InvalidRequest",
      "Found overlapping prefixes 'a' and 'ab' for same action type 'Expiration'",
    ],
    [
      rule(filter(prefix("a".repeat(1025))) + expires),
      "InvalidRequest",
      "The maximum size of a prefix is 1024",
    ],
    [
      rule(filter(tag("")) + expires),
      "InvalidRequest",
      "A Tag's Key must be a length between 1 and 128.",
    ],
    [
      rule(filter(tag("k".repeat(129))) + expires),
      "InvalidRequest",
      "A Tag's Key must be a length between 1 and 128.",
    ],
    [
      rule(filter(tag("k", "v".repeat(257))) + expires),
      "InvalidRequest",
      "A Tag's Value must be a length between 0 and 256.",
    ],
  ]));

Deno.test("lifecycle on the wire: sizes are in their bounds, and not of uploads or delete markers", () => {
  const above = (size: string) => `<ObjectSizeGreaterThan>${size}</ObjectSizeGreaterThan>`;
  const below = (size: string) => `<ObjectSizeLessThan>${size}</ObjectSizeLessThan>`;
  const markers = (value: boolean) =>
    `<Expiration><Days>1</Days><ExpiredObjectDeleteMarker>${value}</ExpiredObjectDeleteMarker></Expiration>`;
  const abort =
    "<AbortIncompleteMultipartUpload><DaysAfterInitiation>1</DaysAfterInitiation></AbortIncompleteMultipartUpload>";
  const [least, most] = [
    "'ObjectSizeGreaterThan' should be between 0 and 1099511627776000.",
    "'ObjectSizeLessThan' should be between 1 and 1099511627776000.",
  ];
  return refuses([
    [rule(filter(above("-1")) + expires), "InvalidRequest", least],
    [rule(filter(above("1099511627776001")) + expires), "InvalidRequest", least],
    [rule(filter(below("0")) + expires), "InvalidRequest", most],
    [rule(filter(below("1099511627776001")) + expires), "InvalidRequest", most],
    [rule(filter(below("x")) + expires), "MalformedXML"],
    [
      rule(filter(`<And>${above("5")}${below("5")}</And>`) + expires),
      "InvalidRequest",
      "'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.",
    ],
    [
      rule(filter(above("5")) + abort),
      "InvalidRequest",
      "AbortIncompleteMultipartUpload cannot be specified with Object Size.",
    ],
    [
      rule(filter(above("5")) + markers(false)),
      "InvalidRequest",
      "ExpiredObjectDeleteMarker cannot be specified with Object Size.",
    ],
    [
      rule(filter(tag("a")) + abort),
      "InvalidRequest",
      "AbortIncompleteMultipartUpload cannot be specified with Tags.",
    ],
  ]);
});

Deno.test("lifecycle on the wire: transitions go to colder classes, and come before the end", () => {
  const to = (name: string, days = 30) =>
    `<Transition><Days>${days}</Days><StorageClass>${name}</StorageClass></Transition>`;
  const older = (name: string, days: number) =>
    `<NoncurrentVersionTransition><NoncurrentDays>${days}</NoncurrentDays><StorageClass>${name}</StorageClass></NoncurrentVersionTransition>`;
  const target = "Invalid target Storage class for Transition action";
  return refuses([
    [rule(all + to("STANDARD")), "InvalidArgument", target],
    [rule(all + to("REDUCED_REDUNDANCY")), "InvalidArgument", target],
    [
      rule(filter(prefix("t/")) + to("STANDARD_IA", 40) + to("STANDARD_IA", 50)),
      "InvalidRequest",
      "'StorageClass' must be different for 'Transition' actions in same 'Rule' with filter '(prefix=t/)'",
    ],
    [
      rule(
        all + to("STANDARD_IA") + "<Expiration><Date>2030-01-01T00:00:00Z</Date></Expiration>",
      ),
      "InvalidRequest",
      "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for filter '(prefix=)'",
    ],
    [
      rule(all + older("STANDARD_IA", 30) + noncurrent(30)),
      "InvalidArgument",
      "'NoncurrentDays' in the NoncurrentVersionExpiration action for filter '(prefix=)' must be greater than 'NoncurrentDays' in the NoncurrentVersionTransition action",
    ],
  ]);
});

Deno.test("lifecycle on the wire: ids are short and each rule's own, and made where none is given", async () => {
  const named = (id: string) => rule(`<ID>${id}</ID>${all}${expires}`);
  await refuses([
    [named("i".repeat(256)), "InvalidArgument", "ID length should not exceed allowed limit of 255"],
    [
      named("i") + named("i"),
      "InvalidArgument",
      "Rule ID must be unique. Found same ID for more than one rule",
    ],
  ]);
  await using door = await openDoor();
  await door.say("PUT /bucket");
  const refused = await put(door, named("i") + named("i"));
  assert.equal(elementOf(refused.text, "ArgumentName"), "ID");
  assert.equal(elementOf(refused.text, "ArgumentValue"), "i");
  const minimum = await put(door, named("i"), {
    "x-amz-transition-default-minimum-object-size": "none",
  });
  assert.equal(elementOf(minimum.text, "Code"), "InvalidRequest");
  assert.equal(
    elementOf(minimum.text, "Message"),
    "Invalid TransitionDefaultMinimumObjectSize found: none",
  );
  const accepted = await put(
    door,
    rule(
      filter(`<And>${prefix("")}${tag("a b", "")}</And>`) +
        noncurrent(1, "<NewerNoncurrentVersions>100</NewerNoncurrentVersions>"),
    ),
  );
  assert.equal(accepted.status, 200, accepted.text);
  const { text } = await door.say("GET /bucket?lifecycle");
  const id = atob(elementOf(text, "ID") ?? "");
  assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}$/);
});

Deno.test("lifecycle on the wire: a hundred noncurrent versions may be kept, and not one more", () => {
  const action = (name: string, newer: number, more = "") =>
    rule(
      all +
        `<${name}><NoncurrentDays>40</NoncurrentDays><NewerNoncurrentVersions>${newer}</NewerNoncurrentVersions>${more}</${name}>`,
    );
  const [expiration, transition] = ["NoncurrentVersionExpiration", "NoncurrentVersionTransition"];
  const to = "<StorageClass>STANDARD_IA</StorageClass>";
  const refused = (name: string, what: string) =>
    `'NewerNoncurrentVersions' for ${name} action must be ${what}`;
  return refuses([
    [
      action(expiration, 101),
      "InvalidArgument",
      refused(expiration, "an integer between 1 and 100"),
    ],
    [
      action(transition, 101, to),
      "InvalidArgument",
      refused(transition, "an integer between 1 and 100"),
    ],
    [action(expiration, 0), "InvalidArgument", refused(expiration, "a positive integer")],
  ]);
});

Deno.test("lifecycle on the wire: headers tell a rule's id as it is, as far as they can carry it", async () => {
  await using door = await openDoor();
  await door.say("PUT /bucket");
  for (const [id, told] of [["soon & gone", "soon & gone"], ['é"%', "%C3%A9%22%25"]] as const) {
    await put(
      door,
      rule(`<ID>${id.replace("&", "&amp;")}</ID>${all}${expires}`),
    );
    const { headers } = await door.say("PUT /bucket/key", {}, "x");
    assert.match(headers.get("x-amz-expiration") ?? "", new RegExp(`, rule-id="${told}"$`));
  }
});
