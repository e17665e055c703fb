/** Where a backup goes and comes from: a file, or an object in any S3. */
import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Agent } from "node:https";
import { dirname, join, resolve } from "node:path";
import { CommandError } from "../../terminal/command.ts";

export interface BackupPlace {
  /** For messages. */
  readonly name: string;
  /** @throws CommandError; what was there under this name stays until the new one is whole */
  write(content: AsyncIterable<Uint8Array>): Promise<number>;
  read(): AsyncIterable<Uint8Array>;
}

const why = (error: unknown) => error instanceof Error ? error.message : String(error);

function filePlace(path: string): BackupPlace {
  return {
    name: path,
    async write(content) {
      const beside = `${path}.${crypto.randomUUID().slice(0, 8)}.new`;
      let length = 0;
      try {
        {
          using file = await Deno.open(beside, { write: true, createNew: true, mode: 0o600 });
          for await (const chunk of content) {
            for (let at = 0; at < chunk.length;) at += await file.write(chunk.subarray(at));
            length += chunk.length;
          }
          await file.sync();
        }
        await Deno.rename(beside, path);
        return length;
      } catch (cause) {
        await Deno.remove(beside).catch(() => {});
        if (cause instanceof CommandError) throw cause;
        throw new CommandError(`${path} cannot be written: ${why(cause)}.`, 1, { cause });
      }
    },
    async *read() {
      let file: Deno.FsFile;
      try {
        file = await Deno.open(path);
      } catch (cause) {
        throw new CommandError(`${path} cannot be read: ${why(cause)}.`, 1, { cause });
      }
      yield* file.readable;
    },
  };
}

export interface S3Access {
  readonly endpoint: string | undefined;
  readonly region: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
  /** PEM of the authority that the endpoint's certificate is from. */
  readonly ca: string | undefined;
}

function s3Place(bucket: string, key: string, access: S3Access): BackupPlace {
  const name = `s3://${bucket}/${key}`;
  const client = () =>
    new S3Client({
      region: access.region,
      forcePathStyle: true,
      ...(access.endpoint === undefined ? {} : { endpoint: access.endpoint }),
      ...(access.credentials === undefined ? {} : { credentials: access.credentials }),
      ...(access.ca === undefined
        ? {}
        : { requestHandler: { httpsAgent: new Agent({ ca: access.ca }) } }),
    });
  const refused = (what: string, cause: unknown) =>
    new CommandError(
      `${name} cannot be ${what}: ${why(cause)}. The endpoint is ` +
        `${access.endpoint ?? "AWS's own"}; --endpoint and the usual AWS_ variables change that.`,
      1,
      { cause },
    );
  return {
    name,
    async write(content) {
      const body = new Uint8Array(
        await new Blob(await Array.fromAsync(content) as Uint8Array<ArrayBuffer>[]).arrayBuffer(),
      );
      const s3 = client();
      try {
        await s3.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: body }));
        return body.length;
      } catch (cause) {
        throw refused("written", cause);
      } finally {
        s3.destroy();
      }
    },
    async *read() {
      const s3 = client();
      try {
        const { Body } = await s3.send(new GetObjectCommand({ Bucket: bucket, Key: key }));
        if (Body === undefined) throw new Error("it is empty");
        yield await Body.transformToByteArray();
      } catch (cause) {
        throw refused("read", cause);
      } finally {
        s3.destroy();
      }
    },
  };
}

/** @param access asked for only when it is an object */
export async function placeOf(
  text: string,
  access: () => Promise<S3Access>,
): Promise<BackupPlace> {
  if (!text.startsWith("s3://")) {
    const path = resolve(text);
    const folder = await Deno.stat(dirname(path)).catch(() => undefined);
    if (folder?.isDirectory !== true) {
      throw new CommandError(`There is no folder ${dirname(path)}.`);
    }
    const own = await Deno.stat(path).catch(() => undefined);
    return filePlace(own?.isDirectory === true ? join(path, "mulga.backup") : path);
  }
  const [, bucket, key] = /^s3:\/\/([^/]+)\/(.+)$/.exec(text) ?? [];
  if (bucket === undefined || key === undefined) {
    throw new CommandError(`"${text}" is no object; one looks like s3://bucket/name.`, 2);
  }
  return s3Place(bucket, key, await access());
}
