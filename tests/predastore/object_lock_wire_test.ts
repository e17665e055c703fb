/** Object lock as requests are refused at AWS: which is looked at first, and in which words. */
import assert from "node:assert/strict";
import { elementOf } from "./answered.ts";
import { openDoor } from "./open_door.ts";

const until = new Date(Date.now() + 86_400_000).toISOString();

Deno.test("object lock on the wire: what a bucket without it is told, and that documents are read first", async () => {
  await using door = await openDoor();
  await door.say("PUT /plain");
  await door.say("PUT /plain/key", {}, "x");
  const refuses = async (
    line: string,
    headers: Record<string, string>,
    body: string | undefined,
    code: string,
    message?: string,
  ) => {
    const { status, text } = await door.say(line, headers, body);
    assert.equal(elementOf(text, "Code"), code, `${line}: ${text}`);
    if (message !== undefined) assert.equal(elementOf(text, "Message"), message, line);
    assert.equal(status, 400, text);
  };
  const retention = {
    "x-amz-object-lock-mode": "GOVERNANCE",
    "x-amz-object-lock-retain-until-date": until,
  };
  const written = "Bucket is missing ObjectLockConfiguration";
  for (const headers of [retention, { "x-amz-object-lock-legal-hold": "ON" }]) {
    for (const line of ["PUT /plain/new", "POST /plain/new?uploads"]) {
      await refuses(
        line,
        headers,
        line.startsWith("PUT") ? "x" : undefined,
        "InvalidRequest",
        written,
      );
    }
    await refuses(
      "PUT /plain/new",
      { ...headers, "x-amz-copy-source": "plain/key" },
      "",
      "InvalidRequest",
      written,
    );
  }
  const asked = "Bucket is missing Object Lock Configuration";
  const hold = "<LegalHold><Status>ON</Status></LegalHold>";
  const retain =
    `<Retention><Mode>GOVERNANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
  await refuses("PUT /plain/key?legal-hold", {}, hold, "InvalidRequest", asked);
  await refuses("PUT /plain/key?retention", {}, retain, "InvalidRequest", asked);
  await refuses("GET /plain/key?legal-hold", {}, undefined, "InvalidRequest", asked);
  await refuses("GET /plain/key?retention", {}, undefined, "InvalidRequest", asked);
  for (
    const body of ["<LegalHold/>", hold.replace("ON", "on"), "x", hold.replace("Status", "State")]
  ) {
    await refuses("PUT /plain/key?legal-hold", {}, body, "MalformedXML");
  }
  for (
    const body of [
      "x",
      retain.replace("GOVERNANCE", "governance"),
      retain.replace(/<Mode>.*<\/Mode>/, ""),
    ]
  ) {
    await refuses("PUT /plain/key?retention", {}, body, "MalformedXML");
  }
  await refuses(
    "PUT /plain?object-lock",
    {},
    "",
    "MissingRequestBodyError",
    "Request Body is empty",
  );
});
