/** The Resource Groups Tagging API as the official SDK meets it, over HTTPS, on resources of two owners. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Tagging from "@aws-sdk/client-resource-groups-tagging-api";
import { otherCredentials, testCredentials } from "../kit/gateway.ts";
import { startScenario } from "../kit/ec2_scenario.ts";

const failed = (name: string) => (error: unknown) => {
  assert.ok(error instanceof Error);
  assert.equal(error.name, name, String(error));
  return true;
};

Deno.test("resources are found, tagged and untagged by ARN, each for itself, and only one's own", async () => {
  await using scenario = await startScenario();
  const agent = new Agent({ ca: scenario.stand.tls.ca });
  const clientOf = (credentials: typeof testCredentials | typeof otherCredentials) =>
    new Tagging.ResourceGroupsTaggingAPIClient({
      region: "ap-southeast-2",
      endpoint: scenario.stand.endpoint,
      credentials,
      maxAttempts: 1,
      requestHandler: { httpsAgent: agent },
    });
  const client = clientOf(testCredentials);
  const found = async (input: Tagging.GetResourcesCommandInput = {}) =>
    (await client.send(new Tagging.GetResourcesCommand(input))).ResourceTagMappingList ?? [];

  const { Vpc } = await scenario.call("CreateVpc", { CidrBlock: "10.0.0.0/16" });
  const { KeyPairId } = await scenario.call("CreateKeyPair", {
    KeyName: "mine",
    TagSpecifications: [{ ResourceType: "key-pair", Tags: [{ Key: "team", Value: "blue" }] }],
  });
  const account = (await scenario.call("DescribeVpcs", {})).Vpcs?.[0]?.OwnerId ?? "";
  const vpc = `arn:aws:ec2:ap-southeast-2:${account}:vpc/${Vpc?.VpcId}`;
  const [key] = await found({ ResourceTypeFilters: ["ec2:key-pair"] });
  assert.ok(key?.ResourceARN?.includes(":key-pair/"), JSON.stringify(key));
  assert.ok(KeyPairId);

  const missing = `arn:aws:ec2:ap-southeast-2:${account}:vpc/vpc-0123456789abcdef0`;
  const tagged = await client.send(
    new Tagging.TagResourcesCommand({
      ResourceARNList: [vpc, missing, "arn:aws:sqs:ap-southeast-2:1:x"],
      Tags: { team: "red", cost: "1" },
    }),
  );
  assert.deepEqual(Object.keys(tagged.FailedResourcesMap ?? {}).sort(), [
    missing,
    "arn:aws:sqs:ap-southeast-2:1:x",
  ]);
  const described = await scenario.call("DescribeVpcs", { VpcIds: [Vpc?.VpcId ?? ""] });
  assert.deepEqual(
    described.Vpcs?.[0]?.Tags?.map((tag) => `${tag.Key}=${tag.Value}`).sort(),
    ["cost=1", "team=red"],
  );

  assert.equal((await found()).length, 2);
  const red = await found({ TagFilters: [{ Key: "team", Values: ["red", "green"] }] });
  assert.deepEqual(red.map((one) => one.ResourceARN), [vpc]);
  assert.deepEqual(await found({ TagFilters: [{ Key: "team", Values: ["none"] }] }), []);
  assert.deepEqual((await found({ ResourceARNList: [vpc] })).length, 1);
  // Pages: the same whether one by one or at once.
  const pages: string[] = [];
  let token = "";
  do {
    const page: Tagging.GetResourcesCommandOutput = await client.send(
      new Tagging.GetResourcesCommand({ ResourcesPerPage: 1, PaginationToken: token }),
    );
    pages.push(...(page.ResourceTagMappingList ?? []).map((one) => one.ResourceARN ?? ""));
    token = page.PaginationToken ?? "";
  } while (token !== "");
  assert.deepEqual(pages, (await found()).map((one) => one.ResourceARN));
  assert.deepEqual((await client.send(new Tagging.GetTagKeysCommand({}))).TagKeys, [
    "cost",
    "team",
  ]);
  assert.deepEqual(
    (await client.send(new Tagging.GetTagValuesCommand({ Key: "team" }))).TagValues,
    ["blue", "red"],
  );

  // Another tenant sees nothing of it and can touch nothing.
  const other = clientOf(otherCredentials);
  assert.deepEqual(
    (await other.send(new Tagging.GetResourcesCommand({}))).ResourceTagMappingList,
    [],
  );
  const refused = await other.send(
    new Tagging.UntagResourcesCommand({ ResourceARNList: [vpc], TagKeys: ["team"] }),
  );
  assert.equal(refused.FailedResourcesMap?.[vpc]?.ErrorCode, "InvalidParameterException");
  // Nor can somebody who may tag, but not these.
  scenario.stand.denied.add("ec2:DeleteTags");
  const denied = await client.send(
    new Tagging.UntagResourcesCommand({ ResourceARNList: [vpc], TagKeys: ["team"] }),
  );
  assert.match(denied.FailedResourcesMap?.[vpc]?.ErrorMessage ?? "", /not authorized/);
  scenario.stand.denied.clear();
  await client.send(
    new Tagging.UntagResourcesCommand({ ResourceARNList: [vpc], TagKeys: ["team", "none"] }),
  );
  assert.deepEqual((await found({ ResourceARNList: [vpc] }))[0]?.Tags, [{
    Key: "cost",
    Value: "1",
  }]);

  await assert.rejects(
    found({ ResourceARNList: [vpc], TagFilters: [{ Key: "a" }] }),
    failed("InvalidParameterException"),
  );
  await assert.rejects(
    client.send(new Tagging.GetResourcesCommand({ PaginationToken: "nonsense" })),
    failed("PaginationTokenExpiredException"),
  );
  await assert.rejects(
    client.send(new Tagging.TagResourcesCommand({ ResourceARNList: [], Tags: { a: "b" } })),
    failed("InvalidParameterException"),
  );
  scenario.stand.denied.add("tag:TagResources");
  await assert.rejects(
    other.send(new Tagging.TagResourcesCommand({ ResourceARNList: [vpc], Tags: { a: "b" } })),
    failed("AccessDeniedException"),
  );
  await assert.rejects(
    client.send(new Tagging.DescribeReportCreationCommand({})),
    failed("UnsupportedOperationException"),
  );
  agent.destroy();
});
