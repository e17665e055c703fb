/**
 * Bodies on their way into the blob directories.
 *
 * A body is admitted before any of it is written, one of unknown length step by step. What it claims to
 * be is checked once all was read; a body that fails is given up, and its shards are dead space. Nothing
 * written here is part of an object before a record says so.
 */
import type { SealedSink } from "../../../ffi/libcrypto_gcm.ts";
import type { BlobDirectory } from "../segments/blob_directory.ts";
import type { Code } from "../extents/code.ts";
import { type Codes, withCode } from "../extents/codes.ts";
import { DiskBuffers } from "../extents/disk_buffers.ts";
import type { Directories } from "../segments/directories.ts";
import { type Epochs, epochsOf } from "../segments/durability.ts";
import {
  type BodyDigest,
  ExtentWriter,
  inlineBytes,
  type WrittenExtent,
} from "../extents/extent_writer.ts";
import type { SmallBodies } from "../extents/small_bodies.ts";
import { type Bytes, keyBytes } from "../index/columns.ts";
import type { BucketRow, ExtentRecord, ObjectMeta, Seal } from "../index/rows.ts";
import { packLayout } from "../extents/layout.ts";
import type { Progress } from "../index/progress.ts";
import { recordTypes, type SmallRecord, smallRecord } from "../segments/record.ts";
import type { ExtentMeta } from "../index/recovery.ts";
import { type BodySource, copied } from "../encryption/body_source.ts";
import { sealedLength, type Sealing } from "../encryption/sealing.ts";

/** An unknown length is admitted and looked at again in steps of this. */
const admittedStep = 64 << 20;

/** A body on its way in, with what is to be computed of it. */
export interface IncomingBody {
  readonly chunks: AsyncIterable<Uint8Array>;
  /** The same bytes, where they can be read into memory of the reader's; then `chunks` gives nothing. */
  readonly source?: () => BodySource | undefined;
  readonly digests: readonly BodyDigest[];
  readonly expected_bytes?: number;
  /** The key under which it is to be sealed. */
  readonly seal?: Seal;
  /** What opens that one, where a client's own key does; it is never kept. */
  readonly customer_key?: Bytes;
  /** Called when all was read; throws when it is not what it claims to be. */
  finish(size: number): Promise<{ readonly etag: string; readonly meta: ObjectMeta }>;
}

/** A body that stands in the directories, and in no record yet. */
export interface WrittenBody {
  readonly id: number;
  readonly to: readonly (BlobDirectory | undefined)[];
  readonly epochs: Epochs;
  /** Bytes of the body, which may be fewer than those that were written. */
  readonly size: number;
  readonly written: WrittenExtent;
  readonly etag: string;
  readonly meta: ObjectMeta;
}

/** The record that says where the stripes of an extent stand. */
export function extentRecord(extent: ExtentRecord, revision: number): SmallRecord {
  const { id, bucket, key, size, k, m, upload } = extent;
  const meta: ExtentMeta = {
    id,
    bucket,
    key,
    size,
    k,
    m,
    layout: packLayout(extent.stripes, k + m).toBase64(),
    ...(upload === undefined ? {} : { upload }),
  };
  return smallRecord(recordTypes.extent, revision, meta);
}

export class Bodies {
  readonly #directories: Directories;
  readonly #progress: Progress;
  readonly #codes: Codes;
  readonly #pool = new DiskBuffers();

  readonly #small: SmallBodies;
  readonly #sealing: Sealing | undefined;

  constructor(
    directories: Directories,
    progress: Progress,
    codes: Codes,
    small: SmallBodies,
    sealing: Sealing | undefined,
  ) {
    this.#small = small;
    this.#sealing = sealing;
    this.#directories = directories;
    this.#progress = progress;
    this.#codes = codes;
  }

  /**
   * @param own the code to be written with, where it is not the usual one
   * @throws what the body's `finish` throws, and `InsufficientCapacity`
   */
  async write(
    bucket: BucketRow,
    key: string,
    body: IncomingBody,
    own: Code | undefined,
  ): Promise<WrittenBody> {
    const { seal } = body;
    const { k, m } = own ?? this.#codes.usual;
    const code = this.#codes.coder(k, m);
    const expected = body.expected_bytes === undefined || seal === undefined
      ? body.expected_bytes
      : sealedLength(seal, body.expected_bytes);
    using _long = (expected ?? Infinity) > inlineBytes ? this.#small.beside() : undefined;
    const admissions = [await this.#directories.admit(expected ?? admittedStep, code)];
    const to = this.#directories.place(bucket.id, key, code);
    const epochs = epochsOf(to);
    const id = this.#progress.nextSequence();
    const writer = new ExtentWriter({
      code,
      pool: this.#pool,
      directories: to,
      extent: id,
      bucket: bucket.id,
      key: keyBytes(key),
      digests: seal === undefined ? body.digests : [],
      ...(expected === undefined ? {} : { expected_bytes: expected }),
    });
    let size = 0;
    const count = (bytes: number) => {
      size += bytes;
    };
    try {
      let admitted = expected ?? admittedStep;
      const admitMore = async () => {
        if (writer.size <= admitted) return;
        admitted += admittedStep;
        admissions.push(await this.#directories.admit(admittedStep, code));
      };
      if (seal === undefined) {
        for await (const chunk of body.chunks) {
          await writer.push(chunk);
          await admitMore();
        }
      } else {
        const sink: SealedSink = {
          room: (wanted) => writer.room(wanted),
          async filled(bytes) {
            await writer.filled(bytes);
            await admitMore();
          },
        };
        const source = body.source?.() ?? copied(body.chunks);
        const { digests, expected_bytes, customer_key } = body;
        await this.#sealingOf().seal(
          seal,
          id,
          source,
          digests,
          sink,
          count,
          expected_bytes,
          customer_key,
        );
      }
      const written = await writer.finish();
      if (seal === undefined) size = written.size;
      const { etag, meta } = await body.finish(size);
      return {
        id,
        to,
        epochs,
        size,
        written,
        etag,
        meta: withCode(seal === undefined ? meta : { ...meta, seal: { ...seal, body: id } }, own),
      };
    } catch (error) {
      await writer.abandon();
      throw error;
    } finally {
      for (const release of admissions) release();
    }
  }

  #sealingOf(): Sealing {
    if (this.#sealing === undefined) throw new Error("the store has no key to seal with");
    return this.#sealing;
  }

  /** A small part is an extent too: its object has no record of its own to stand in. */
  async striped(
    bucket: BucketRow,
    key: string,
    { id: extent, to: directories, written: { code } }: WrittenBody,
    bytes: Bytes,
  ): Promise<WrittenExtent> {
    const writer = new ExtentWriter({
      code,
      pool: this.#pool,
      directories,
      extent,
      bucket: bucket.id,
      key: keyBytes(key),
      digests: [],
      expected_bytes: bytes.length,
      inline: false,
    });
    await writer.push(bytes);
    return await writer.finish();
  }

  /** The extent that a written body makes. */
  extentOf(
    id: number,
    bucket: number,
    key: string,
    written: WrittenExtent,
    upload?: string,
  ): ExtentRecord {
    return {
      id,
      bucket,
      key,
      size: written.size,
      k: written.code.k,
      m: written.code.m,
      stripes: written.stripes,
      ...(upload === undefined ? {} : { upload }),
    };
  }
}
