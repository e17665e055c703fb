import assert from "node:assert/strict";
import { Agent } from "node:https";
import {
  CompleteSnapshotCommand,
  EBSClient,
  GetSnapshotBlockCommand,
  ListChangedBlocksCommand,
  PutSnapshotBlockCommand,
  StartSnapshotCommand,
} from "@aws-sdk/client-ebs";
import { startTestGateway, testCredentials } from "../../tests/kit/gateway.ts";

Deno.test("a REST call that nobody answers is refused by the name of its operation", async () => {
  await using stand = await startTestGateway();
  const client = (path?: string) => {
    const made = new EBSClient({
      region: "ap-southeast-2",
      endpoint: stand.endpoint,
      credentials: testCredentials,
      maxAttempts: 1,
      requestHandler: { httpsAgent: new Agent({ ca: stand.tls.ca, keepAlive: false }) },
    });
    if (path === undefined) return made;
    made.middlewareStack.add((next) => (args) => {
      Object.assign(args.request as object, { path });
      return next(args);
    }, { step: "build" });
    return made;
  };
  const unsupported = (operation: string) => ({
    name: "UnsupportedOperationException",
    message: `The operation ebs:${operation} is not supported by this cloud.`,
  });
  const id = "snap-1";
  await assert.rejects(
    client().send(new StartSnapshotCommand({ VolumeSize: 1 })),
    unsupported("StartSnapshot"),
  );
  await assert.rejects(
    client().send(new GetSnapshotBlockCommand({ SnapshotId: id, BlockIndex: 0, BlockToken: "t" })),
    unsupported("GetSnapshotBlock"),
  );
  await assert.rejects(
    client().send(new ListChangedBlocksCommand({ SecondSnapshotId: id, MaxResults: 100 })),
    unsupported("ListChangedBlocks"),
  );
  await assert.rejects(
    client().send(
      new PutSnapshotBlockCommand({
        SnapshotId: id,
        BlockIndex: 0,
        BlockData: new Uint8Array(524_288),
        DataLength: 524_288,
        Checksum: "x",
        ChecksumAlgorithm: "SHA256",
      }),
    ),
    unsupported("PutSnapshotBlock"),
  );
  await assert.rejects(
    client("/nothing/here").send(
      new CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: 1 }),
    ),
    { name: "UnknownOperationException" },
  );
});
