import assert from "node:assert/strict";
import {
  CompleteSnapshotCommand,
  EBSClient,
  GetSnapshotBlockCommand,
  PutSnapshotBlockCommand,
} from "@aws-sdk/client-ebs";
import { AwsError } from "../aws/errors.ts";
import { subject } from "../bus/subject.ts";
import { otherCredentials, startTestGateway, testAccount } from "../../tests/kit/gateway.ts";
import { clientOptions } from "../../tests/kit/sdk_calls.ts";

Deno.test("a REST call reaches its owner and comes back, bytes and headers as they were", async () => {
  await using stand = await startTestGateway();
  const client = (path?: string) => {
    const made = new EBSClient(clientOptions(stand));
    if (path === undefined) return made;
    made.middlewareStack.add((next) => (args) => {
      Object.assign(args.request as object, { path });
      return next(args);
    }, { step: "build" });
    return made;
  };
  const block = crypto.getRandomValues(new Uint8Array(65_536));
  const heard: unknown[] = [];
  stand.bus.answer(
    subject<Record<string, unknown>, unknown>("ebs.PutSnapshotBlock"),
    (input, context) => {
      heard.push([context.account_id, input]);
      return { Checksum: "sum", ChecksumAlgorithm: "SHA256" };
    },
  );
  stand.bus.answer(subject<unknown, unknown>("ebs.GetSnapshotBlock"), () => ({
    DataLength: block.length,
    BlockData: block.toBase64(),
    Checksum: "sum",
    ChecksumAlgorithm: "SHA256",
  }));
  stand.bus.answer(subject<unknown, unknown>("ebs.CompleteSnapshot"), () => {
    throw new AwsError("ResourceNotFoundException", "The snapshot does not exist.", {
      status: 404,
    });
  });
  await stand.bus.connection.flush();
  const SnapshotId = "snap-0123456789abcdef0";
  const put = {
    SnapshotId,
    BlockIndex: 7,
    BlockData: block,
    DataLength: block.length,
    Checksum: "c3Vt",
    ChecksumAlgorithm: "SHA256",
  } as const;
  const stored = await client().send(new PutSnapshotBlockCommand(put));
  assert.equal(stored.Checksum, "sum");
  assert.deepEqual(heard, [[testAccount, { ...put, BlockData: block.toBase64() }]]);
  const read = await client().send(
    new GetSnapshotBlockCommand({ SnapshotId, BlockIndex: 7, BlockToken: "t" }),
  );
  assert.equal(read.DataLength, block.length);
  assert.deepEqual(await read.BlockData?.transformToByteArray(), block);

  const complete = new CompleteSnapshotCommand({ SnapshotId, ChangedBlocksCount: 1 });
  await assert.rejects(client().send(complete), { name: "ResourceNotFoundException" });
  await assert.rejects(client("/nothing/here").send(complete), {
    name: "UnknownOperationException",
  });
  stand.denied.add("ebs:PutSnapshotBlock");
  // Whoever was allowed a moment ago is remembered: another one asks.
  const denied = new EBSClient(clientOptions(stand, otherCredentials));
  await assert.rejects(denied.send(new PutSnapshotBlockCommand(put)), {
    name: "AccessDeniedException",
  });
});
