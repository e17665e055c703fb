/** What keeps a VPC to itself, as users call it over HTTPS. */
import assert from "node:assert/strict";
import { startScenario } from "../kit/ec2_scenario.ts";
import { oneNetwork } from "./one_network.ts";

Deno.test("protections of a VPC follow EC2's rules", async (t) => {
  await using ec2 = await startScenario();
  const { call, refused } = ec2;
  const { VpcId } = await oneNetwork(ec2);

  await t.step("protections", async () => {
    const { VpcBlockPublicAccessExclusion: made } = await call(
      "CreateVpcBlockPublicAccessExclusion",
      {
        VpcId,
        InternetGatewayExclusionMode: "allow-egress",
      },
    );
    const ExclusionId = made?.ExclusionId;
    await refused("InvalidParameterValue", "CreateVpcBlockPublicAccessExclusion", {
      VpcId,
      InternetGatewayExclusionMode: "allow-egress",
    });
    await ec2.vpcd.network.records.settled();
    await call("ModifyVpcBlockPublicAccessExclusion", {
      ExclusionId,
      InternetGatewayExclusionMode: "allow-bidirectional",
    });
    const { VpcBlockPublicAccessExclusions: [shown] = [] } = await call(
      "DescribeVpcBlockPublicAccessExclusions",
      {},
    );
    assert.equal(shown?.InternetGatewayExclusionMode, "allow-bidirectional");
    await call("DeleteVpcBlockPublicAccessExclusion", { ExclusionId });
    assert.equal(
      (await call("DescribeVpcBlockPublicAccessOptions", {})).VpcBlockPublicAccessOptions
        ?.InternetGatewayBlockMode,
      "off",
    );
    await call("ModifyVpcBlockPublicAccessOptions", { InternetGatewayBlockMode: "block-ingress" });
    assert.equal(
      (await call("DescribeVpcBlockPublicAccessOptions", {})).VpcBlockPublicAccessOptions
        ?.InternetGatewayBlockMode,
      "block-ingress",
    );
    const { VpcEncryptionControl: control } = await call("CreateVpcEncryptionControl", { VpcId });
    const VpcEncryptionControlId = control?.VpcEncryptionControlId ?? "";
    await refused("VpcEncryptionControlAlreadyExists", "CreateVpcEncryptionControl", { VpcId });
    const { InternetGateway: gateway } = await call("CreateInternetGateway", {});
    await call("AttachInternetGateway", { VpcId, InternetGatewayId: gateway?.InternetGatewayId });
    assert.equal(
      (await call("GetVpcResourcesBlockingEncryptionEnforcement", { VpcId })).NonCompliantResources
        ?.[0]?.Id,
      gateway?.InternetGatewayId,
    );
    await refused("VpcEncryptionEnforcementBlocked", "ModifyVpcEncryptionControl", {
      VpcEncryptionControlId,
      Mode: "enforce",
    });
    await call("ModifyVpcEncryptionControl", {
      VpcEncryptionControlId,
      Mode: "enforce",
      InternetGatewayExclusion: "enable",
    });
    await ec2.vpcd.network.records.settled();
    const { VpcEncryptionControls: [now] = [] } = await call("DescribeVpcEncryptionControls", {
      VpcIds: [VpcId],
    });
    assert.deepEqual([now?.Mode, now?.State], ["enforce", "available"]);
    await call("DeleteVpcEncryptionControl", { VpcEncryptionControlId });
  });
});
