/** An account's limits through Service Quotas' SDK, and what holds to them. */
import * as Sdk from "@aws-sdk/client-service-quotas";
import assert from "node:assert/strict";
import { Agent } from "node:https";
import { accountQuotas } from "../../services/compute/contract.ts";
import { instanceRecord, testConfig } from "../kit/compute.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { otherAccount, otherCredentials, testAccount, testCredentials } from "../kit/gateway.ts";
import { until } from "../kit/until.ts";

const storage = { ServiceCode: "ebs", QuotaCode: "L-7A658B76" };
const vcpus = { ServiceCode: "ec2", QuotaCode: "L-1216C47A" };

Deno.test("quotas are shown, asked for, set by the operator, and hold", async (t) => {
  await using ec2 = await startScenario();
  const { stand, world } = ec2;
  const agent = new Agent({ ca: stand.tls.ca });
  const settings = {
    region: testConfig.region,
    endpoint: stand.endpoint,
    credentials: testCredentials,
    maxAttempts: 1,
    requestHandler: { httpsAgent: agent },
  };
  const quotas = new Sdk.ServiceQuotasClient(settings);
  const operator = await stand.nats.bus("operator");
  const set = (code: string, value: number, account_id: string = testAccount) =>
    operator.ask(accountQuotas, { account_id, set: { code, value } });
  const valueOf = async (of: typeof storage) =>
    (await quotas.send(new Sdk.GetServiceQuotaCommand(of))).Quota?.Value;
  const refused = (name: string, work: Promise<unknown>) => assert.rejects(work, { name });

  await t.step("what there is", async () => {
    const { Services = [] } = await quotas.send(new Sdk.ListServicesCommand({ MaxResults: 2 }));
    assert.equal(Services.length, 2);
    const { Quotas = [] } = await quotas.send(
      new Sdk.ListServiceQuotasCommand({ ServiceCode: "ebs" }),
    );
    assert.deepEqual(Quotas.map((one) => one.QuotaCode).sort(), ["L-309BACF6", "L-7A658B76"]);
    const { Quota } = await quotas.send(new Sdk.GetAWSDefaultServiceQuotaCommand(storage));
    assert.equal(Quota?.Value, await valueOf(storage));
    await refused(
      "NoSuchResourceException",
      quotas.send(new Sdk.GetServiceQuotaCommand({ ServiceCode: "ec2", QuotaCode: "L-00000000" })),
    );
    await refused(
      "NoSuchResourceException",
      quotas.send(new Sdk.ListServiceQuotasCommand({ ServiceCode: "lambda" })),
    );
    stand.denied.add("servicequotas:ListServices");
    const theirs = new Sdk.ServiceQuotasClient({ ...settings, credentials: otherCredentials });
    await refused("AccessDeniedException", theirs.send(new Sdk.ListServicesCommand({})));
    theirs.destroy();
  });

  await t.step("storage, volumes' growth and copies hold to what the operator set", async () => {
    await set(storage.QuotaCode, 1);
    assert.equal(await valueOf(storage), 1);
    const AvailabilityZone = testConfig.az;
    const { VolumeId = "" } = await ec2.call("CreateVolume", { AvailabilityZone, Size: 1000 });
    const volumes = () => [...world.state.volumes.all(testAccount)].length;
    await assert.rejects(
      ec2.call("CreateVolume", { AvailabilityZone, Size: 100 }),
      /VolumeLimitExceeded/,
    );
    await assert.rejects(
      ec2.call("ModifyVolume", { VolumeId, Size: 1025 }),
      /VolumeLimitExceeded/,
    );
    await assert.rejects(
      ec2.call("CopyVolumes", { SourceVolumeId: VolumeId }),
      /VolumeLimitExceeded/,
    );
    assert.equal(volumes(), 1);
    await ec2.other.call("CreateVolume", { AvailabilityZone, Size: 1020 });
    await ec2.call("CreateVolume", { AvailabilityZone, Size: 24 });
    await ec2.call("DeleteVolume", { VolumeId });
    await until("the room that it left", async () => {
      await Promise.resolve();
      return volumes() === 1;
    });
    await ec2.call("CreateVolume", { AvailabilityZone, Size: 1000 });
  });

  await t.step("snapshots", async () => {
    await set("L-309BACF6", 1);
    const [volume] = world.state.volumes.all(testAccount);
    const VolumeId = volume?.volume_id ?? "";
    const { SnapshotId = "" } = await ec2.call("CreateSnapshot", { VolumeId });
    await assert.rejects(ec2.call("CreateSnapshot", { VolumeId }), /SnapshotLimitExceeded/);
    await assert.rejects(
      ec2.call("CopySnapshot", {
        SourceRegion: testConfig.region,
        SourceSnapshotId: SnapshotId,
      }),
      /SnapshotLimitExceeded/,
    );
  });

  await t.step("vCPUs are those of instances that are to run", async () => {
    await set(vcpus.QuotaCode, 3);
    const check = (more: number) => () => world.side.quotas.checkVcpus(testAccount, more);
    const made = await world.instances.create(
      instanceRecord({ account_id: testAccount, instance_type: "t3.micro", wanted: "running" }),
    );
    assert.doesNotThrow(check(1));
    assert.throws(check(2), { code: "VcpuLimitExceeded" });
    await world.instances.modify(testAccount, made.instance_id, (now) => ({
      ...now,
      wanted: "stopped",
    }));
    assert.doesNotThrow(check(3));
    assert.doesNotThrow(() => world.side.quotas.checkVcpus(otherAccount, 100));
  });

  await t.step("a request for more is kept until the operator grants it", async () => {
    const ask = (DesiredValue: number, of = vcpus) =>
      quotas.send(new Sdk.RequestServiceQuotaIncreaseCommand({ ...of, DesiredValue }));
    const { RequestedQuota: request } = await ask(64);
    assert.deepEqual([request?.Status, request?.DesiredValue], ["PENDING", 64]);
    await refused("ResourceAlreadyExistsException", ask(65));
    await refused("IllegalArgumentException", ask(1, storage));
    await refused(
      "IllegalArgumentException",
      ask(1000, { ServiceCode: "vpc", QuotaCode: "L-F678F1CE" }),
    );
    const shown = await operator.ask(accountQuotas, { account_id: testAccount });
    assert.equal(shown.find((one) => one.code === vcpus.QuotaCode)?.wanted, 64);
    await set(vcpus.QuotaCode, 64);
    const { RequestedQuota: now } = await quotas.send(
      new Sdk.GetRequestedServiceQuotaChangeCommand({ RequestId: request?.Id ?? "" }),
    );
    assert.equal(now?.Status, "APPROVED");
    const { RequestedQuotas = [] } = await quotas.send(
      new Sdk.ListRequestedServiceQuotaChangeHistoryCommand({}),
    );
    assert.deepEqual(RequestedQuotas.map((one) => one.Id), [request?.Id]);
    await assert.rejects(set("L-F678F1CE", 5), { code: "InvalidParameterValue" });
    await assert.rejects(set(vcpus.QuotaCode, -1), { code: "InvalidParameterValue" });
  });
  quotas.destroy();
  agent.destroy();
});
