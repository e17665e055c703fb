/**
 * How each format is opened, by the code that opens it in a running node, and what a sample of it is made of.
 * A sample is written once, when its format is the newest, and kept in `samples.json` for good.
 */
import { parseConfig } from "../../services/config/node_config.ts";
import type { formats } from "../../services/config/formats.ts";
import { MasterKeys } from "../../services/identity/credentials/master_key.ts";
import {
  headerBytes,
  readHeader,
  recordTypes,
  writeHeader,
} from "../../services/predastore/segments/record.ts";
import { decodeRow, encodeRow } from "../../services/state/table.ts";
import {
  readChunkHeader,
  writeChunkHeader,
} from "../../services/viperblock/chunks/chunk_record.ts";
import { crc32c } from "../../ffi/crc32c.ts";
import { mapMemory } from "../../ffi/libc.ts";
import { LogSeal } from "../../services/viperblock/encryption/log_seal.ts";
import { sealObject } from "../../services/viperblock/encryption/sealed_bytes.ts";
import { SealedObjects } from "../../services/viperblock/encryption/sealed_objects.ts";
import { VolumeKey } from "../../services/viperblock/encryption/volume_key.ts";
import {
  batchVersion,
  blockBytes,
  chunkHeaderBytes,
  entryData,
  sealedBatchVersion,
} from "../../services/viperblock/format.ts";
import {
  batchIsWhole,
  decodeHeader,
  firstEntryWord,
  headerWord,
  prepareHeader,
  sealHeader,
} from "../../services/viperblock/log/log_record.ts";
import type { BlockStore } from "../../services/viperblock/maps/map_objects.ts";
import { PackedChunks } from "../../services/viperblock/chunks/packed_chunks.ts";
import { MapWriter, readMapHead } from "../../services/viperblock/maps/map_stream.ts";

type Bytes = Uint8Array<ArrayBuffer>;

interface Reader {
  /** What this release writes. */
  write(): Bytes | Promise<Bytes>;
  /** Opens a sample and gives what is in it; throws or gives undefined when it cannot. */
  read(bytes: Bytes): unknown;
  /** The format's number in the bytes, where it stands. */
  number(bytes: Bytes): number;
  readonly holds: unknown;
}

const utf8 = (text: string): Bytes => new TextEncoder().encode(text);
const text = (bytes: Bytes) => new TextDecoder().decode(bytes);
const word = (bytes: Bytes, at: number) =>
  new DataView(bytes.buffer, bytes.byteOffset).getUint32(at, true);

const config = {
  version: 1,
  cluster_id: "c-01020304",
  node_id: "n-01020304",
  region: "ap-southeast-2",
  az: "ap-southeast-2a",
  data_dir: "/var/lib/mulga",
  bind: "0.0.0.0",
  ports: { gateway: 9999, s3: 9002, nats: 4222 },
  profile: "mulga",
  storage: { blobs: ["/var/lib/mulga/blobs"], data_shards: 1, parity_shards: 0, reserve_bytes: 1 },
  compute: { accelerator: "auto", cpu_overcommit: 4, reserve_memory_mib: 512 },
};
const row = { name: "ana", tags: { "ключ": "значение" }, n: 1 };
const master = new MasterKeys([new Uint8Array(32).fill(7)]);
const place = { storeId: 0x0102030405060708n, segment: 3, offset: 128 };
const volume = "vol-0123456789abcdef0";
const volumeKey = new VolumeKey(new Uint8Array(32).fill(11));
const chunk = { owner: volume, epoch: 2, sequence: 9 };
const map = { volumeId: volume, epoch: 2, sequence: 77, nextSegment: 5, sizeBlocks: 262_144 };

const chunkKey = "chunks/sample";

/** A store of one object. */
class OneObject implements BlockStore {
  body: Bytes | undefined;

  put(_key: string, body: Bytes): Promise<void> {
    this.body = body;
    return Promise.resolve();
  }

  get(_key: string, range?: { readonly offset: number; readonly length: number }) {
    const { offset, length } = range ?? { offset: 0, length: Infinity };
    return Promise.resolve(this.body?.slice(offset, offset + length));
  }

  delete(): Promise<void> {
    this.body = undefined;
    return Promise.resolve();
  }

  async *list(): AsyncGenerator<string> {}
}

export const readers: Readonly<Record<keyof typeof formats, Reader>> = {
  config: {
    write: () => utf8(JSON.stringify(config)),
    read: (bytes) => parseConfig(text(bytes), "config.json"),
    number: (bytes) => JSON.parse(text(bytes)).version,
    // What later releases added has its default.
    holds: { ...config, ports: { ...config.ports, control: 8443 } },
  },
  state_row: {
    write: () => new Uint8Array(encodeRow(row)),
    read: (bytes) => decodeRow("key", bytes),
    number: (bytes) => JSON.parse(text(bytes)).v,
    holds: row,
  },
  sealed_secret: {
    write: () => utf8(JSON.stringify(master.seal("the secret", "owner"))),
    read: (bytes) => master.open(JSON.parse(text(bytes)), "owner"),
    number: (bytes) => JSON.parse(text(bytes)).v,
    holds: "the secret",
  },
  object_segment: {
    write: () => {
      const bytes = new Uint8Array(headerBytes + 16).fill(5, headerBytes);
      writeHeader(bytes, {
        ...place,
        type: recordTypes.object,
        metaBytes: 16,
        payloadBytes: 0,
        durable: { segment: 2, offset: 4096 },
        sequence: 42,
        payloadCrc: 0,
      });
      return bytes;
    },
    read: (bytes) => {
      const header = readHeader(bytes, place);
      return header !== undefined && "sequence" in header ? header.sequence : undefined;
    },
    number: (bytes) => bytes[5] ?? 0,
    holds: 42,
  },
  volume_log: {
    write: () => {
      // A batch of one block, as an encrypted volume writes it.
      const plain = mapMemory(2 * blockBytes);
      const sealed = mapMemory(2 * blockBytes);
      const header = plain.bytes.subarray(0, blockBytes);
      prepareHeader(header, volume, 3, sealedBatchVersion);
      const words = new Uint32Array(plain.buffer);
      words[headerWord.segment] = 4;
      words[headerWord.sequenceLow] = 12;
      words[headerWord.dataCount] = words[headerWord.entryCount] = 1;
      plain.bytes.fill(5, blockBytes);
      words.set([7, crc32c(plain.bytes.subarray(blockBytes)), entryData], firstEntryWord);
      using seal = new LogSeal(volumeKey, mapMemory);
      seal.sealBatch(plain, sealed, 0, { epoch: 3, segment: 4, position: 0, dataCount: 1 });
      sealHeader(sealed.bytes.subarray(0, blockBytes));
      return sealed.bytes.slice();
    },
    read: (bytes) => {
      const isSealed = bytes.length > blockBytes;
      const version = isSealed ? sealedBatchVersion : batchVersion;
      const header = decodeHeader(bytes.slice(0, blockBytes), volume, version);
      if (header === undefined) return undefined;
      using seal = new LogSeal(volumeKey, mapMemory);
      if (isSealed && !batchIsWhole(header, seal.openBatch(header, bytes), 8)) return undefined;
      return [header.segment, header.epoch, header.sequence];
    },
    number: (bytes) => word(bytes, 4),
    holds: [4, 3, 12],
  },
  volume_chunk: {
    write: () => {
      const bytes = new Uint8Array(chunkHeaderBytes);
      writeChunkHeader(bytes, chunk, new Uint32Array([5, 9]), new Uint32Array([1, 2]), 2);
      return bytes;
    },
    read: (bytes) => readChunkHeader(bytes),
    number: (bytes) => word(bytes, 4),
    holds: {
      name: chunk,
      moment: { asOf: 0, began: 0 },
      blocks: [{ block: 5, checksum: 1 }, { block: 9, checksum: 2 }],
    },
  },
  packed_chunk: {
    write: async () => {
      const body = new Uint8Array(chunkHeaderBytes + 16 * blockBytes);
      writeChunkHeader(body, chunk, new Uint32Array([5, 9]), new Uint32Array([1, 2]), 2);
      const store = new OneObject();
      await new PackedChunks(store).put(chunkKey, body);
      return store.body ?? new Uint8Array(0);
    },
    read: async (bytes) => {
      const store = new OneObject();
      store.body = bytes;
      const body = await new PackedChunks(store).get(chunkKey);
      // What it does not know it hands on, and whoever wants a chunk finds that it is none.
      return body === undefined ? undefined : readChunkHeader(body);
    },
    number: (bytes) => word(bytes, 4),
    holds: {
      name: chunk,
      moment: { asOf: 0, began: 0 },
      blocks: [{ block: 5, checksum: 1 }, { block: 9, checksum: 2 }],
    },
  },
  volume_seal: {
    write: () => sealObject(volumeKey, volume, chunkKey, new Uint8Array(70_000).fill(9)),
    read: async (bytes) => {
      const store = new OneObject();
      store.body = bytes;
      const keys = { of: () => volumeKey };
      const body = await new SealedObjects(store, keys).get(chunkKey);
      return body === undefined ? undefined : [body.length, body[0], body[69_999]];
    },
    number: (bytes) => word(bytes, 4),
    holds: [70_000, 9, 9],
  },
  volume_map: {
    write: () => {
      const bytes = new Uint8Array(1 << 16);
      const length = new MapWriter(map, [], []).fill(bytes);
      return bytes.slice(0, length);
    },
    read: (bytes) => readMapHead(bytes),
    number: (bytes) => word(bytes, 4),
    holds: { ...map, chunkCount: 0, tableChecksum: 0 },
  },
};
