/** EC2 under IAM's policies on single resources, with the services as their own processes. */
import assert from "node:assert/strict";
import { Agent } from "node:https";
import * as Ec2 from "@aws-sdk/client-ec2";
import * as Iam from "@aws-sdk/client-iam";
import { adminCredentials } from "../../services/identity/contract.ts";
import { startNode } from "../kit/node.ts";

Deno.test("a policy that denies one volume denies that one, whoever may all else", async () => {
  await using node = await startNode();
  for (const name of ["identity", "predastore", "viperblock", "gateway", "compute"] as const) {
    await (await node.start(name)).healthy();
  }
  const admin = await (await node.bus("operator")).ask(adminCredentials, null);
  const ca = await Deno.readTextFile(node.paths.tls.ca);
  const settings = (accessKeyId: string, secretAccessKey: string) => ({
    region: node.config.region,
    endpoint: node.endpoint,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    requestHandler: { httpsAgent: new Agent({ ca }) },
  });
  const own = settings(admin.access_key_id, admin.secret_access_key);
  const iam = new Iam.IAMClient(own);
  const boss = new Ec2.EC2Client(own);
  const UserName = "ada";
  await iam.send(new Iam.CreateUserCommand({ UserName }));
  const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName }));
  const key = [AccessKey?.AccessKeyId ?? "", AccessKey?.SecretAccessKey ?? ""] as const;
  const ada = new Ec2.EC2Client(settings(...key));
  const code = async (work: Promise<unknown>) => {
    try {
      await work;
      return "allowed";
    } catch (error) {
      return (error as Error).name;
    }
  };

  const volumes: string[] = [];
  for (let n = 0; n < 2; n++) {
    const volume = await boss.send(
      new Ec2.CreateVolumeCommand({ AvailabilityZone: node.config.az, Size: 1 }),
    );
    volumes.push(volume.VolumeId ?? "");
  }
  const [kept = "", free = ""] = volumes;
  const drop = (VolumeId: string) => ada.send(new Ec2.DeleteVolumeCommand({ VolumeId }));
  assert.equal(await code(ada.send(new Ec2.DescribeVolumesCommand({}))), "UnauthorizedOperation");
  assert.equal(await code(drop(free)), "UnauthorizedOperation");

  await iam.send(
    new Iam.PutUserPolicyCommand({
      UserName,
      PolicyName: "but",
      PolicyDocument: JSON.stringify({
        Version: "2012-10-17",
        Statement: [
          { Effect: "Allow", Action: "ec2:*", Resource: "*" },
          {
            Effect: "Deny",
            Action: "ec2:Delete*",
            Resource: `arn:aws:ec2:${node.config.region}:*:volume/${kept}`,
          },
        ],
      }),
    }),
  );
  assert.equal(await code(ada.send(new Ec2.DescribeVolumesCommand({}))), "allowed");
  assert.equal(await code(drop(kept)), "UnauthorizedOperation");
  assert.equal(await code(drop(free)), "allowed");
  const left = await boss.send(new Ec2.DescribeVolumesCommand({ VolumeIds: [kept] }));
  assert.equal(left.Volumes?.length, 1);

  // Another name for the region would be another name for every resource in it.
  const elsewhere = new Ec2.EC2Client({ ...settings(...key), region: "us-east-1" });
  assert.equal(await code(elsewhere.send(new Ec2.DescribeVolumesCommand({}))), "AuthFailure");
  for (const client of [elsewhere, iam, boss, ada]) client.destroy();
});
