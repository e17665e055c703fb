/** What the tests of the S3 API share: one predastore for many steps, and how AWS's answers are looked at. */
import {
  CreateBucketCommand,
  GetObjectCommand,
  type S3Client,
  S3ServiceException,
} from "@aws-sdk/client-s3";
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { startPredastore, type TestPredastore } from "../kit/predastore.ts";

/** Fails unless `work` is refused as AWS refuses it. */
export async function refused(work: Promise<unknown>, code: string, status: number): Promise<void> {
  await assert.rejects(work, (error) => {
    assert.ok(error instanceof S3ServiceException, String(error));
    assert.equal(error.name, code, error.message);
    assert.equal(error.$metadata.httpStatusCode, status);
    return true;
  });
}

export async function textOf(
  s3: S3Client,
  Bucket: string,
  Key: string,
  VersionId?: string,
): Promise<string> {
  const { Body } = await s3.send(
    new GetObjectCommand({ Bucket, Key, ...(VersionId === undefined ? {} : { VersionId }) }),
  );
  return await Body?.transformToString() ?? "";
}

/** The bytes of an object, read whole. */
export async function content(s3: S3Client, Bucket: string, Key: string): Promise<Uint8Array> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
  assert.ok(Body !== undefined);
  return await Body.transformToByteArray();
}

export const same = (a: Uint8Array, b: Uint8Array) =>
  assert.ok(Buffer.compare(a, b) === 0, "bytes differ");

export const md5 = (bytes: Uint8Array | string) => createHash("md5").update(bytes).digest("hex");

export type Steps = Readonly<
  Record<string, (s3: S3Client, test: TestPredastore) => Promise<void>>
>;

/** Runs the steps one after the other on one predastore; its log must hold no error in the end. */
export async function withPredastore(t: Deno.TestContext, steps: Steps): Promise<void> {
  await using test = await startPredastore();
  const s3 = test.s3();
  await s3.send(new CreateBucketCommand({ Bucket: "bucket" }));
  for (const [name, step] of Object.entries(steps)) await t.step(name, () => step(s3, test));
  assert.ok(!test.process().log().includes(`"level":"error"`), test.process().log());
}

/** Connections that are kept alive end when they like. */
export const keptAlive = { sanitizeResources: false, sanitizeOps: false } as const;
