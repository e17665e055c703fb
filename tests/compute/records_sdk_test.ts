/** Templates, groups, reservations, attributes and settings as users call them over HTTPS. */
import assert from "node:assert/strict";
import { claimInterfaces } from "../../services/vpcd/contract.ts";
import { instanceRecord } from "../kit/compute.ts";
import { startScenario } from "../kit/ec2_scenario.ts";
import { testAccount } from "../kit/gateway.ts";

const filter = (Name: string, ...Values: string[]) => [{ Name, Values }];
const az = "ap-southeast-2a";

Deno.test("compute's records follow EC2's rules over HTTPS", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused, other } = ec2;
  const addInstance = async (more: Parameters<typeof instanceRecord>[0] = {}) => {
    const made = await ec2.world.instances.create(
      instanceRecord({ account_id: testAccount, ...more }),
    );
    await ec2.stand.bus.ask(claimInterfaces, {
      account_id: testAccount,
      instance_id: made.instance_id,
      wishes: [{ device_index: 0, delete_on_termination: true }],
    });
    return made.instance_id;
  };
  const running = await addInstance();
  const stopped = await addInstance({ state: "stopped", wanted: "stopped" });

  await t.step("launch templates and their versions", async () => {
    const data = { InstanceType: "t3.micro" as const, UserData: "aGk=" };
    await refused("InvalidLaunchTemplateName.MalformedException", "CreateLaunchTemplate", {
      LaunchTemplateName: "a b",
      LaunchTemplateData: data,
    });
    const { LaunchTemplate: made } = await call("CreateLaunchTemplate", {
      LaunchTemplateName: "web",
      LaunchTemplateData: data,
    });
    const LaunchTemplateId = made?.LaunchTemplateId ?? "";
    await refused("InvalidLaunchTemplateName.AlreadyExistsException", "CreateLaunchTemplate", {
      LaunchTemplateName: "web",
      LaunchTemplateData: data,
    });
    await other.refused("InvalidLaunchTemplateName.NotFoundException", "DescribeLaunchTemplates", {
      LaunchTemplateNames: ["web"],
    });
    const { LaunchTemplateVersion: second } = await call("CreateLaunchTemplateVersion", {
      LaunchTemplateName: "web",
      SourceVersion: "1",
      LaunchTemplateData: { KeyName: "me" },
    });
    assert.deepEqual(
      [
        second?.VersionNumber,
        second?.LaunchTemplateData?.InstanceType,
        second?.LaunchTemplateData?.KeyName,
      ],
      [2, "t3.micro", "me"],
    );
    await call("ModifyLaunchTemplate", { LaunchTemplateId, DefaultVersion: "2" });
    const { LaunchTemplates: [shown] = [] } = await call("DescribeLaunchTemplates", {
      LaunchTemplateNames: ["web"],
    });
    assert.deepEqual([shown?.DefaultVersionNumber, shown?.LatestVersionNumber], [2, 2]);
    const { LaunchTemplateVersions: versions = [] } = await call("DescribeLaunchTemplateVersions", {
      LaunchTemplateId,
    });
    assert.deepEqual(versions.map((one) => [one.VersionNumber, one.DefaultVersion]), [[2, true], [
      1,
      false,
    ]]);
    await refused("InvalidLaunchTemplateId.VersionNotFound", "DescribeLaunchTemplateVersions", {
      LaunchTemplateId,
      Versions: ["7"],
    });
    const deleted = await call("DeleteLaunchTemplateVersions", {
      LaunchTemplateId,
      Versions: ["1", "2", "7"],
    });
    assert.deepEqual(
      deleted.SuccessfullyDeletedLaunchTemplateVersions?.map((one) => one.VersionNumber),
      [1],
    );
    assert.equal(deleted.UnsuccessfullyDeletedLaunchTemplateVersions?.length, 2);
    assert.equal(
      (await call("GetLaunchTemplateData", { InstanceId: running })).LaunchTemplateData
        ?.InstanceType,
      "t3.micro",
    );
    await call("CreateTags", { Resources: [LaunchTemplateId], Tags: [{ Key: "a", Value: "b" }] });
    assert.equal(
      (await call("DescribeTags", { Filters: filter("resource-type", "launch-template") })).Tags
        ?.length,
      1,
    );
    await call("DeleteLaunchTemplate", { LaunchTemplateId });
    await refused("InvalidLaunchTemplateId.NotFound", "DeleteLaunchTemplate", { LaunchTemplateId });
  });

  await t.step("placement groups", async () => {
    const { PlacementGroup: made } = await call("CreatePlacementGroup", {
      GroupName: "near",
      Strategy: "cluster",
    });
    await refused("InvalidPlacementGroup.Duplicate", "CreatePlacementGroup", {
      GroupName: "near",
      Strategy: "cluster",
    });
    await refused("InvalidParameterValue", "CreatePlacementGroup", {
      GroupName: "x",
      Strategy: "cluster",
      PartitionCount: 3,
    });
    await call("ModifyInstancePlacement", { InstanceId: stopped, GroupName: "near" });
    await refused("IncorrectInstanceState", "ModifyInstancePlacement", {
      InstanceId: running,
      GroupName: "near",
    });
    await refused("InvalidPlacementGroup.InUse", "DeletePlacementGroup", { GroupName: "near" });
    await call("ModifyInstancePlacement", { InstanceId: stopped, GroupName: "" });
    const { PlacementGroups: [shown] = [] } = await call("DescribePlacementGroups", {
      Filters: filter("strategy", "clus*"),
    });
    assert.equal(shown?.GroupId, made?.GroupId);
    await call("DeletePlacementGroup", { GroupName: "near" });
    await refused("InvalidPlacementGroup.Unknown", "DeletePlacementGroup", { GroupName: "near" });
  });

  await t.step("capacity reservations and hosts", async () => {
    const wanted = {
      InstanceType: "t3.micro",
      InstancePlatform: "Linux/UNIX" as const,
      InstanceCount: 3,
      AvailabilityZone: az,
    };
    await refused("InvalidParameterValue", "CreateCapacityReservation", {
      ...wanted,
      InstanceType: "u-24tb1.metal",
    });
    await refused("InvalidParameterValue", "CreateCapacityReservation", {
      ...wanted,
      EndDateType: "limited",
    });
    const { CapacityReservation: made } = await call("CreateCapacityReservation", wanted);
    const CapacityReservationId = made?.CapacityReservationId ?? "";
    assert.equal(made?.AvailableInstanceCount, 2, "the running instance stands in it");
    await call("ModifyInstanceCapacityReservationAttributes", {
      InstanceId: stopped,
      CapacityReservationSpecification: { CapacityReservationTarget: { CapacityReservationId } },
    });
    await refused("InvalidParameterValue", "ModifyCapacityReservation", {
      CapacityReservationId,
      InstanceCount: 0,
    });
    await call("ModifyCapacityReservation", { CapacityReservationId, InstanceCount: 5 });
    const usage = await call("GetCapacityReservationUsage", { CapacityReservationId });
    assert.deepEqual([usage.TotalInstanceCount, usage.InstanceUsages?.[0]?.UsedInstanceCount], [
      5,
      1,
    ]);
    await call("CancelCapacityReservation", { CapacityReservationId });
    await refused("InvalidState", "CancelCapacityReservation", { CapacityReservationId });
    assert.equal(
      (await call("DescribeCapacityReservations", { Filters: filter("state", "cancelled") }))
        .CapacityReservations?.length,
      1,
    );
    await call("EnableCapacityManager", {});
    assert.equal((await call("GetCapacityManagerAttributes", {})).CapacityManagerStatus, "enabled");
    await call("DisableCapacityManager", {});

    const { HostIds = [] } = await call("AllocateHosts", {
      AvailabilityZone: az,
      InstanceType: "t3.micro",
      Quantity: 2,
    });
    await refused("InvalidParameterCombination", "AllocateHosts", { AvailabilityZone: az });
    const { Hosts: [host] = [] } = await call("DescribeHosts", { HostIds: [HostIds[0] ?? ""] });
    assert.equal(host?.State, "available");
    await call("ModifyHosts", { HostIds, HostRecovery: "on" });
    await call("ModifyInstancePlacement", {
      InstanceId: stopped,
      HostId: HostIds[0],
      Tenancy: "host",
    });
    const released = await call("ReleaseHosts", { HostIds });
    assert.deepEqual(released.Successful, [HostIds[1]]);
    assert.equal(released.Unsuccessful?.[0]?.Error?.Code, "Client.InvalidHost.Occupied");
  });

  await t.step("attributes of instances", async () => {
    await call("ModifyInstanceAttribute", {
      InstanceId: running,
      DisableApiTermination: { Value: true },
    });
    assert.equal(
      (await call("DescribeInstanceAttribute", {
        InstanceId: running,
        Attribute: "disableApiTermination",
      })).DisableApiTermination?.Value,
      true,
    );
    await refused("IncorrectInstanceState", "ModifyInstanceAttribute", {
      InstanceId: running,
      InstanceType: { Value: "t3.small" },
    });
    await call("ModifyInstanceAttribute", {
      InstanceId: stopped,
      Attribute: "instanceType",
      Value: "t3.small",
    });
    assert.equal(
      (await call("DescribeInstanceAttribute", { InstanceId: stopped, Attribute: "instanceType" }))
        .InstanceType?.Value,
      "t3.small",
    );
    await refused("InvalidParameterCombination", "ModifyInstanceAttribute", {
      InstanceId: stopped,
      EbsOptimized: { Value: true },
      DisableApiStop: { Value: true },
    });
    const { GroupId } = await call("CreateSecurityGroup", { GroupName: "g", Description: "g" });
    await call("ModifyInstanceAttribute", { InstanceId: running, Groups: [GroupId ?? ""] });
    assert.deepEqual(
      (await call("DescribeInstanceAttribute", { InstanceId: running, Attribute: "groupSet" }))
        .Groups?.map((one) => one.GroupName),
      ["g"],
    );
    await call("ModifyInstanceAttribute", {
      InstanceId: running,
      SourceDestCheck: { Value: false },
    });
    await call("ResetInstanceAttribute", { InstanceId: running, Attribute: "sourceDestCheck" });
    assert.equal(
      (await call("DescribeInstanceAttribute", {
        InstanceId: running,
        Attribute: "sourceDestCheck",
      })).SourceDestCheck?.Value,
      true,
    );
    await refused("InvalidInstanceID.NotFound", "ModifyInstanceAttribute", {
      InstanceId: "i-0123456789abcdef0",
      EbsOptimized: { Value: true },
    });
    const cpu = await call("ModifyInstanceCpuOptions", {
      InstanceId: stopped,
      CoreCount: 1,
      ThreadsPerCore: 1,
    });
    assert.equal(cpu.CoreCount, 1);
    await refused("InvalidParameterValue", "ModifyInstanceCpuOptions", {
      InstanceId: stopped,
      CoreCount: 64,
      ThreadsPerCore: 1,
    });
    const credits = await call("ModifyInstanceCreditSpecification", {
      InstanceCreditSpecifications: [{ InstanceId: running, CpuCredits: "standard" }, {
        InstanceId: "i-0123456789abcdef0",
        CpuCredits: "standard",
      }],
    });
    assert.equal(credits.SuccessfulInstanceCreditSpecifications?.length, 1);
    assert.equal(
      credits.UnsuccessfulInstanceCreditSpecifications?.[0]?.Error?.Code,
      "InvalidInstanceID.NotFound",
    );
    assert.equal(
      (await call("DescribeInstanceCreditSpecifications", { InstanceIds: [running] }))
        .InstanceCreditSpecifications?.[0]?.CpuCredits,
      "standard",
    );
    await call("ModifyInstanceMaintenanceOptions", {
      InstanceId: running,
      AutoRecovery: "disabled",
    });
    const options = await call("ModifyInstanceMetadataOptions", {
      InstanceId: running,
      HttpTokens: "required",
      HttpPutResponseHopLimit: 2,
    });
    assert.equal(options.InstanceMetadataOptions?.HttpPutResponseHopLimit, 2);
    assert.equal(
      (await call("MonitorInstances", { InstanceIds: [running] })).InstanceMonitorings?.[0]
        ?.Monitoring?.State,
      "pending",
    );
    await call("UnmonitorInstances", { InstanceIds: [running] });
    await call("ReportInstanceStatus", {
      Instances: [running],
      Status: "impaired",
      ReasonCodes: ["unresponsive"],
    });
    assert.equal(
      ec2.world.instances.get(testAccount, running)?.settings?.reported?.status,
      "impaired",
    );
  });

  await t.step("event windows", async () => {
    const TimeRanges = [{
      StartWeekDay: "monday" as const,
      StartHour: 2,
      EndWeekDay: "monday" as const,
      EndHour: 8,
    }];
    await refused("InvalidParameterValue", "CreateInstanceEventWindow", {
      TimeRanges: [{ ...TimeRanges[0], EndHour: 3 }],
    });
    const { InstanceEventWindow: made } = await call("CreateInstanceEventWindow", {
      Name: "night",
      TimeRanges,
    });
    const InstanceEventWindowId = made?.InstanceEventWindowId ?? "";
    await call("AssociateInstanceEventWindow", {
      InstanceEventWindowId,
      AssociationTarget: { InstanceIds: [running] },
    });
    await refused("InstanceEventWindowInUse", "DeleteInstanceEventWindow", {
      InstanceEventWindowId,
    });
    await call("ModifyInstanceEventWindow", { InstanceEventWindowId, Name: "late" });
    const { InstanceEventWindows: [shown] = [] } = await call("DescribeInstanceEventWindows", {
      Filters: filter("instance-id", running),
    });
    assert.equal(shown?.Name, "late");
    await call("DisassociateInstanceEventWindow", {
      InstanceEventWindowId,
      AssociationTarget: { InstanceIds: [running] },
    });
    assert.equal(
      (await call("DeleteInstanceEventWindow", { InstanceEventWindowId })).InstanceEventWindowState
        ?.State,
      "deleted",
    );
  });

  await t.step("settings of the account are the account's", async () => {
    await call("EnableEbsEncryptionByDefault", {});
    assert.equal((await call("GetEbsEncryptionByDefault", {})).EbsEncryptionByDefault, true);
    assert.equal((await other.call("GetEbsEncryptionByDefault", {})).EbsEncryptionByDefault, false);
    await call("DisableEbsEncryptionByDefault", {});
    await refused("InvalidParameterValue", "ModifyEbsDefaultKmsKeyId", { KmsKeyId: "a key" });
    // There is no key service: keys that only look like keys are not there.
    for (const KmsKeyId of ["alias/mine", "12345678-1234-1234-1234-123456789012"]) {
      await refused("InvalidParameterValue", "ModifyEbsDefaultKmsKeyId", { KmsKeyId });
    }
    const { KmsKeyId } = await call("GetEbsDefaultKmsKeyId", {});
    assert.match(KmsKeyId ?? "", /^arn:aws:kms:[^:]+:\d{12}:alias\/aws\/ebs$/);
    for (const name of ["alias/aws/ebs", KmsKeyId]) {
      assert.deepEqual(
        (await call("ModifyEbsDefaultKmsKeyId", { KmsKeyId: name })).KmsKeyId,
        KmsKeyId,
      );
    }
    assert.equal((await call("ResetEbsDefaultKmsKeyId", {})).KmsKeyId, KmsKeyId);
    await call("EnableSerialConsoleAccess", {});
    assert.equal((await call("GetSerialConsoleAccessStatus", {})).SerialConsoleAccessEnabled, true);
    await call("DisableSerialConsoleAccess", {});
    await call("EnableImageBlockPublicAccess", {
      ImageBlockPublicAccessState: "block-new-sharing",
    });
    await call("DisableImageBlockPublicAccess", {});
    assert.equal(
      (await call("GetImageBlockPublicAccessState", {})).ImageBlockPublicAccessState,
      "unblocked",
    );
    await call("EnableSnapshotBlockPublicAccess", { State: "block-all-sharing" });
    assert.equal((await call("GetSnapshotBlockPublicAccessState", {})).State, "block-all-sharing");
    await call("DisableSnapshotBlockPublicAccess", {});
    await call("ModifyInstanceMetadataDefaults", {
      HttpTokens: "required",
      HttpPutResponseHopLimit: 2,
    });
    const defaults = await call("GetInstanceMetadataDefaults", {});
    assert.deepEqual([
      defaults.AccountLevel?.HttpTokens,
      defaults.AccountLevel?.HttpPutResponseHopLimit,
    ], ["required", 2]);
    await call("ModifyDefaultCreditSpecification", {
      InstanceFamily: "t3",
      CpuCredits: "standard",
    });
    assert.equal(
      (await call("GetDefaultCreditSpecification", { InstanceFamily: "t3" }))
        .InstanceFamilyCreditSpecification?.CpuCredits,
      "standard",
    );
    const { AccountAttributes = [] } = await call("DescribeAccountAttributes", {
      AttributeNames: ["default-vpc"],
    });
    assert.match(AccountAttributes[0]?.AttributeValues?.[0]?.AttributeValue ?? "", /^vpc-/);
  });

  await t.step("what could be launched", async () => {
    const { InstanceTypes = [] } = await call("GetInstanceTypesFromInstanceRequirements", {
      ArchitectureTypes: ["x86_64"],
      VirtualizationTypes: ["hvm"],
      InstanceRequirements: { VCpuCount: { Min: 2, Max: 4 }, MemoryMiB: { Min: 4096 } },
    });
    assert.ok(InstanceTypes.some((one) => one.InstanceType === "m5.large"));
    assert.ok(!InstanceTypes.some((one) => one.InstanceType?.startsWith("t3")));
    const { InstanceTypeOfferings = [] } = await call("DescribeInstanceTypeOfferings", {
      LocationType: "availability-zone",
      Filters: filter("instance-type", "t3.*"),
    });
    assert.ok(
      InstanceTypeOfferings.length > 3 && InstanceTypeOfferings.every((one) => one.Location === az),
    );
    const { SpotPlacementScores: [score] = [] } = await call("GetSpotPlacementScores", {
      TargetCapacity: 2,
      InstanceTypes: ["t3.micro"],
    });
    assert.equal(score?.Score, 10);
    await refused("InvalidParameterValue", "GetSpotPlacementScores", {
      TargetCapacity: 0,
      InstanceTypes: ["t3.micro"],
    });
    assert.ok(
      (await call("DescribeSpotPriceHistory", { InstanceTypes: ["t3.micro"] })).SpotPriceHistory
        ?.length === 1,
    );
  });
});
