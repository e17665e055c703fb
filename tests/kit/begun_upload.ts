/** An upload whose parts are sent when the test likes. */
import { PutObjectCommand, type S3Client } from "@aws-sdk/client-s3";
import { getSignedUrl } from "@aws-sdk/s3-request-presigner";

export interface BegunUpload extends Disposable {
  send(bytes: Uint8Array): Promise<void>;
  /** The head of the answer. */
  answer(): Promise<string>;
}

/** Begins to put an object of that length. */
export async function beginUpload(
  door: { readonly endpoint: string; readonly ca: string },
  s3: S3Client,
  object: { readonly Bucket: string; readonly Key: string; readonly length: number },
): Promise<BegunUpload> {
  const { Bucket, Key, length } = object;
  const url = await getSignedUrl(s3, new PutObjectCommand({ Bucket, Key }));
  const target = url.slice(url.indexOf("/", "https://".length));
  const { hostname, host, port } = new URL(door.endpoint);
  const to = { hostname, port: Number(port) };
  const connection = await Deno.connectTls({ ...to, caCerts: [door.ca] });
  const send = async (bytes: Uint8Array) => {
    for (let at = 0; at < bytes.length;) at += await connection.write(bytes.subarray(at));
  };
  await send(new TextEncoder().encode(
    `PUT ${target} HTTP/1.1\r\nhost: ${host}\r\ncontent-length: ${length}\r\n\r\n`,
  ));
  return {
    send,
    async answer() {
      const buffer = new Uint8Array(64 * 1024);
      const count = await connection.read(buffer);
      return new TextDecoder().decode(buffer.subarray(0, count ?? 0));
    },
    [Symbol.dispose]: () => connection.close(),
  };
}
