import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { startTestGateway } from "../../tests/kit/gateway.ts";
import { SigningGrants } from "../aws/signatures/signing_grants.ts";
import { credentialScope, deriveSigningKey } from "../aws/signatures/sigv4.ts";
import { subject } from "../bus/subject.ts";
import { Admission } from "./admission.ts";
import { ResourceAuthorizer } from "../aws/authorizer.ts";
import { dispatch } from "./dispatch.ts";
import { QueryAnswers } from "./query_answers.ts";
import { edgeOf } from "./edge.ts";

Deno.test("a signature for S3, which may leave the body unsigned, is none for another service", async () => {
  await using stand = await startTestGateway();
  let asked = 0;
  stand.bus.answer(subject<unknown, unknown>("sts.GetCallerIdentity"), () => {
    asked++;
    return { UserId: "AIDATEST", Account: "123456789012", Arn: "arn:aws:iam::123456789012:root" };
  });
  await stand.bus.connection.flush();
  const amzDate = new Date().toISOString().replace(/[-:]|\.\d{3}/g, "");
  const scope = { date: amzDate.slice(0, 8), region: "ap-southeast-2", service: "s3" };
  const names = "host;x-amz-content-sha256;x-amz-date";
  const { host } = new URL(stand.endpoint);
  const canonical = `POST\n/\n\nhost:${host}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n` +
    `x-amz-date:${amzDate}\n\n${names}\nUNSIGNED-PAYLOAD`;
  const signed = credentialScope({ access_key_id: "AKIATEST", ...scope });
  const text = `AWS4-HMAC-SHA256\n${amzDate}\n${signed}\n${
    createHash("sha256").update(canonical).digest("hex")
  }`;
  const signature = createHmac("sha256", deriveSigningKey("secret", scope)).update(text)
    .digest("hex");
  const claimed = signed.replace("/s3/", "/sts/");
  using client = Deno.createHttpClient({ caCerts: [stand.tls.ca] });
  const init = {
    method: "POST",
    headers: {
      "content-type": "application/x-www-form-urlencoded",
      "x-amz-date": amzDate,
      "x-amz-content-sha256": "UNSIGNED-PAYLOAD",
      // Whoever looks for the first `Credential=` finds one that the signature does not name.
      authorization: `AWS4-HMAC-SHA256 XCredential=AKIATEST/${claimed}, ` +
        `Credential=AKIATEST/${signed}, SignedHeaders=${names}, Signature=${signature}`,
    },
    body: "Action=GetCallerIdentity&Version=2011-06-15",
  };
  const reply = await fetch(`${stand.endpoint}/`, { ...init, client });
  const body = await reply.text();
  assert.equal(reply.status, 503, "it goes to predastore, which is not there");
  assert.match(body, /<Error><Code>ServiceUnavailable</);

  const bus = await stand.nats.bus("gateway");
  await using grants = new SigningGrants(bus);
  await using authorizer = new ResourceAuthorizer(bus);
  const edge = edgeOf(new Request(`${stand.endpoint}/`, init), {
    transport: "tcp",
    hostname: "127.0.0.1",
    port: 1,
  });
  const notes = { service: "", action: "", account_id: "", principal_arn: "" };
  await assert.rejects(
    dispatch({ ...edge, authority: host }, "sts", {
      bus,
      grants,
      authorizer,
      admission: new Admission(),
      answers: new QueryAnswers(),
    }, notes),
    { code: "SignatureDoesNotMatch" },
    "nor would it pass where a call for another service is answered",
  );
  assert.equal(asked, 0);
});
