/** The S3 door of a node, its administrator, and `ada`, who may do nothing but what the policy of a bucket lets her. */
import { Agent } from "node:https";
import * as Iam from "@aws-sdk/client-iam";
import * as S3 from "@aws-sdk/client-s3";
import { adminCredentials } from "../../services/identity/contract.ts";
import type { TestNode } from "../kit/node.ts";

export async function bucketUsers(node: TestNode) {
  for (const name of ["identity", "predastore", "gateway"] as const) {
    await (await node.start(name)).healthy();
  }
  const operator = await node.bus("operator");
  const admin = await operator.ask(adminCredentials, null);
  const httpsAgent = new Agent({ ca: await Deno.readTextFile(node.paths.tls.ca) });
  const settings = (accessKeyId: string, secretAccessKey: string) => ({
    region: node.config.region,
    endpoint: node.endpoint,
    credentials: { accessKeyId, secretAccessKey },
    maxAttempts: 1,
    requestHandler: { httpsAgent },
  });
  const s3Of = (accessKeyId: string, secret: string) =>
    new S3.S3Client({
      ...settings(accessKeyId, secret),
      endpoint: `https://localhost:${node.config.ports.s3}`,
      forcePathStyle: true,
    });
  const boss = s3Of(admin.access_key_id, admin.secret_access_key);
  const iam = new Iam.IAMClient(settings(admin.access_key_id, admin.secret_access_key));
  await iam.send(new Iam.CreateUserCommand({ UserName: "ada" }));
  const { AccessKey } = await iam.send(new Iam.CreateAccessKeyCommand({ UserName: "ada" }));
  const ada = s3Of(AccessKey?.AccessKeyId ?? "", AccessKey?.SecretAccessKey ?? "");
  return { operator, admin, httpsAgent, s3Of, boss, iam, ada };
}
