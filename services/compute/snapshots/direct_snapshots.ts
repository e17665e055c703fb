/**
 * The EBS direct APIs: snapshots listed, compared, read and written in blocks of 512 KiB by programs
 * that have no instance. What is whose stands in compute's records; the bytes are viperblock's.
 *
 * Every block that comes is held against the checksum that its sender gave before it is stored, and
 * every block that goes carries one. A snapshot whose writer is silent for too long is given up.
 */
import { createHash } from "node:crypto";
import type * as Ebs from "@aws-sdk/client-ebs";
import { AwsError } from "../../aws/errors.ts";
import {
  chooseEncryption,
  type Encryption,
  encryptionDefaults,
} from "../volumes/encryption_choice.ts";
import type { Bus } from "../../bus/bus.ts";
import { type CallContext, type Subject, subject } from "../../bus/subject.ts";
import { errorFields, type Log } from "../../log/log.ts";
import type { RegisterOptions } from "../../resources/actions.ts";
import { isId, newId } from "../../resources/ids.ts";
import { makeToken, readToken } from "../../resources/paging.ts";
import { checkTags } from "../../resources/tags.ts";
import type { Wire } from "../../resources/wire.ts";
import {
  abandonSnapshot,
  type ChangedBlock,
  directBlockBytes,
  type DirectBlocks,
  listSnapshotBlocks,
  openSnapshot,
  readSnapshotBlock,
  sealSnapshot,
  writeSnapshotBlock,
} from "../../viperblock/contract.ts";
import type { directActions, SnapshotRecord } from "../contract.ts";
import { demand } from "../demand.ts";
import { makingContext } from "./snapshot_making.ts";
import { inOurWords, type Invalid, invalid, notFound } from "./direct_errors.ts";
import { usableSnapshot } from "./snapshot_permissions.ts";
import type { SnapshotKeeper } from "./snapshots.ts";
import type { ComputeState } from "../state.ts";

type In<T> = Wire<T>;
type Out<T> = Omit<Wire<T>, "$metadata">;

const largest_gib = 16_384;
const usualTimeout_min = 60;
const tokensServe_ms = 7 * 24 * 3_600_000;
const sweep_ms = 60_000;

/** Names a block of a snapshot; who may read the snapshot may have it. */
function blockToken(snapshotId: string, index: number): string {
  return createHash("sha256").update(`${snapshotId}/${index}`).digest("base64url").slice(0, 40);
}

const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("base64");

export interface DirectOptions {
  readonly bus: Bus;
  readonly log: Log;
  readonly state: ComputeState;
  readonly keeper: SnapshotKeeper;
  readonly authorize?: RegisterOptions["authorize"];
}

export class DirectSnapshots {
  readonly #o: DirectOptions;
  /** When each snapshot that is being written was last heard of; a restart hears of all anew. */
  readonly #heard = new Map<string, number>();
  readonly #started_ms = Date.now();
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(options: DirectOptions) {
    this.#o = options;
  }

  async #demand(action: string, snapshotId: string, call: CallContext): Promise<void> {
    const resource = `arn:aws:ec2:${call.region}::snapshot/${snapshotId}`;
    await demand(this.#o.authorize, `ebs:${action}`, resource, call, 403);
  }

  /** The caller's own snapshot. @throws AwsError */
  async #own(action: string, id: string | undefined, call: CallContext): Promise<SnapshotRecord> {
    const found = await this.#usable(action, id, call);
    if (found.account_id !== call.account_id) throw notFound(found.snapshot_id);
    return found;
  }

  /** One that the caller may read: its own, or one that is shared with it. @throws AwsError */
  async #usable(
    action: string,
    id: string | undefined,
    call: CallContext,
  ): Promise<SnapshotRecord> {
    const snapshotId = id ?? "";
    if (!isId("snap-", snapshotId)) {
      throw invalid(`'${snapshotId}' is no snapshot id.`, "INVALID_SNAPSHOT_ID");
    }
    await this.#demand(action, snapshotId, call);
    try {
      const found = await usableSnapshot(this.#o.state, call.account_id, snapshotId);
      if (found.state !== "deleting") return found;
    } catch (error) {
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
    }
    throw notFound(snapshotId);
  }

  async #ask<Input extends { readonly snapshot_id: string }, Output>(
    on: Subject<Input, Output>,
    input: NoInfer<Input>,
    call: CallContext,
    reason?: Invalid,
  ): Promise<Output> {
    try {
      return await this.#o.bus.ask(on, input, call);
    } catch (error) {
      throw inOurWords(error, input.snapshot_id, reason);
    }
  }

  async startSnapshot(
    input: In<Ebs.StartSnapshotCommandInput>,
    call: CallContext,
  ): Promise<Out<Ebs.StartSnapshotCommandOutput>> {
    const size_gib = input.VolumeSize ?? 0;
    if (!Number.isInteger(size_gib) || size_gib < 1 || size_gib > largest_gib) {
      throw invalid(`VolumeSize must be from 1 to ${largest_gib} GiB.`, "INVALID_VOLUME_SIZE");
    }
    const timeout_min = input.Timeout ?? usualTimeout_min;
    if (!Number.isInteger(timeout_min) || timeout_min < 10 || timeout_min > 4_320) {
      throw invalid("Timeout must be from 10 to 4320 minutes.");
    }
    if ((input.Description ?? "").length > 255) throw invalid("Description is too long.");
    let tags: SnapshotRecord["tags"];
    try {
      tags = checkTags(input.Tags ?? []);
    } catch (cause) {
      throw cause instanceof AwsError ? invalid(cause.message, "INVALID_TAG", cause) : cause;
    }
    const parent = input.ParentSnapshotId === undefined
      ? undefined
      : await this.#usable("StartSnapshot", input.ParentSnapshotId, call);
    if (parent === undefined) await this.#demand("StartSnapshot", "*", call);
    else if (parent.size_gib > size_gib) {
      throw invalid(
        "VolumeSize must be at least that of the parent snapshot.",
        "INVALID_VOLUME_SIZE",
      );
    }
    const { state } = this.#o;
    if (parent !== undefined && (input.Encrypted !== undefined || input.KmsKeyArn !== undefined)) {
      throw invalid(
        "Encrypted and KmsKeyArn are those of the parent snapshot. Leave them out.",
        "INVALID_DEPENDENCY_REQUEST",
      );
    }
    const encryption = this.#encryption(input, call, parent);
    const once = state.tokens.once<string, Out<Ebs.StartSnapshotCommandOutput>>(call, {
      action: "StartSnapshot",
      input,
      choose: () => newId("snap-"),
      work: async (snapshot_id) => {
        const { keeper } = this.#o;
        const begun = await keeper.begin({
          snapshot_id,
          account_id: call.account_id,
          ...encryption,
          size_gib,
          ...(input.Description === undefined ? {} : { description: input.Description }),
          written: { timeout_min },
          tags,
        });
        try {
          await this.#ask(openSnapshot, {
            snapshot_id,
            size_bytes: size_gib * 2 ** 30,
            ...(parent === undefined ? {} : { parent_id: parent.snapshot_id }),
            ...(encryption.encrypted === true ? { encrypted: true } : {}),
          }, makingContext(begun, keeper.clock(), call));
        } catch (error) {
          // What is only away is asked again with the same token, or forgotten when its time is over.
          if (error instanceof AwsError && error.status < 500) {
            await keeper.remove(call.account_id, snapshot_id);
          }
          throw error;
        }
        const record = await keeper.made(begun);
        this.#heard.set(snapshot_id, Date.now());
        return this.#started(record, input.ParentSnapshotId);
      },
      again: async (snapshot_id) =>
        this.#started(
          await state.snapshots.require(call.account_id, snapshot_id),
          input.ParentSnapshotId,
        ),
    });
    return await once.catch((error) => {
      throw inOurWords(error, "");
    });
  }

  #encryption(
    { Encrypted, KmsKeyArn }: In<Ebs.StartSnapshotCommandInput>,
    call: CallContext,
    parent: SnapshotRecord | undefined,
  ): Encryption {
    const defaults = encryptionDefaults(this.#o.state.records, call.region, call.account_id);
    // Unlike what EC2's own actions make, this is never encrypted against what was asked for.
    if (defaults.always && parent !== undefined && parent.encrypted !== true) {
      throw invalid(
        "The account encrypts by default, and the parent snapshot is not encrypted. Make an encrypted copy of it.",
        "INVALID_DEPENDENCY_REQUEST",
      );
    }
    if (defaults.always && Encrypted === false) {
      throw invalid(
        "The account encrypts by default. Leave Encrypted out, or set it to true.",
        "INVALID_DEPENDENCY_REQUEST",
      );
    }
    try {
      // A key alone asks for encryption as well.
      return chooseEncryption(
        {
          Encrypted: Encrypted ?? (KmsKeyArn === undefined ? undefined : true),
          KmsKeyId: KmsKeyArn,
        },
        defaults,
        parent,
      );
    } catch (cause) {
      const reason = cause instanceof AwsError && cause.code === "InvalidParameterValue"
        ? "INVALID_CUSTOMER_KEY"
        : "INVALID_DEPENDENCY_REQUEST";
      throw cause instanceof AwsError ? invalid(cause.message, reason, cause) : cause;
    }
  }

  #started(
    record: SnapshotRecord,
    parent: string | undefined,
  ): Out<Ebs.StartSnapshotCommandOutput> {
    return {
      SnapshotId: record.snapshot_id,
      OwnerId: record.account_id,
      Status: record.state === "deleting" ? "error" : record.state,
      StartTime: record.start_time,
      VolumeSize: record.size_gib,
      BlockSize: directBlockBytes,
      ...(record.kms_key_id === undefined ? {} : { KmsKeyArn: record.kms_key_id }),
      Description: record.description ?? "",
      Tags: Object.entries(record.tags).map(([Key, Value]) => ({ Key, Value })),
      ...(parent === undefined ? {} : { ParentSnapshotId: parent }),
    };
  }

  async putSnapshotBlock(
    input: In<Ebs.PutSnapshotBlockCommandInput>,
    call: CallContext,
  ): Promise<Out<Ebs.PutSnapshotBlockCommandOutput>> {
    const record = await this.#own("PutSnapshotBlock", input.SnapshotId, call);
    const { snapshot_id } = record;
    if (record.state !== "pending" || record.written === undefined) {
      throw invalid(`The snapshot '${snapshot_id}' is not being written.`);
    }
    const block_index = Number(input.BlockIndex);
    if (!Number.isInteger(block_index) || block_index < 0) {
      throw invalid("BlockIndex is invalid.", "INVALID_BLOCK");
    }
    if (input.ChecksumAlgorithm !== "SHA256") {
      throw invalid("ChecksumAlgorithm must be SHA256.", "INVALID_BLOCK");
    }
    const data = String(input.BlockData ?? "");
    const bytes = Uint8Array.fromBase64(data);
    if (bytes.length !== directBlockBytes || input.DataLength !== directBlockBytes) {
      throw invalid(
        `A block must have ${directBlockBytes} bytes, and DataLength say so.`,
        "INVALID_BLOCK",
      );
    }
    const checksum = sha256(bytes);
    if (checksum !== input.Checksum) {
      throw invalid(
        `The checksum of the block is ${checksum}, not ${input.Checksum}.`,
        "INVALID_BLOCK",
      );
    }
    await this.#ask(
      writeSnapshotBlock,
      { snapshot_id, block_index, data },
      call,
      "INVALID_BLOCK",
    );
    this.#heard.set(snapshot_id, Date.now());
    return { Checksum: checksum, ChecksumAlgorithm: "SHA256" };
  }

  async completeSnapshot(
    input: In<Ebs.CompleteSnapshotCommandInput>,
    call: CallContext,
  ): Promise<Out<Ebs.CompleteSnapshotCommandOutput>> {
    const record = await this.#own("CompleteSnapshot", input.SnapshotId, call);
    const { snapshot_id } = record;
    if (record.written === undefined || record.state === "error") {
      throw invalid(`The snapshot '${snapshot_id}' is not being written.`);
    }
    const { Checksum: checksum, ChangedBlocksCount: changed_blocks } = input;
    if (checksum !== undefined) {
      const method = input.ChecksumAggregationMethod ?? "LINEAR";
      if ((input.ChecksumAlgorithm ?? "SHA256") !== "SHA256" || method !== "LINEAR") {
        throw invalid("The checksum must be SHA256, aggregated as LINEAR.");
      }
    }
    await this.#ask(sealSnapshot, {
      snapshot_id,
      ...(changed_blocks === undefined ? {} : { changed_blocks }),
      ...(checksum === undefined ? {} : { checksum }),
    }, call);
    await this.#o.state.snapshots.modify(
      call.account_id,
      snapshot_id,
      (now) =>
        now.state !== "pending" ? now : {
          ...now,
          state: "completed",
          completion_time: new Date().toISOString(),
        },
    );
    this.#heard.delete(snapshot_id);
    return { Status: "completed" };
  }

  async #list(
    action: "ListSnapshotBlocks" | "ListChangedBlocks",
    input: {
      readonly NextToken?: string | undefined;
      readonly MaxResults?: number | undefined;
      readonly StartingBlockIndex?: number | undefined;
    },
    record: SnapshotRecord,
    first: SnapshotRecord | undefined,
    call: CallContext,
  ): Promise<{ readonly found: DirectBlocks; readonly NextToken?: string }> {
    const most = input.MaxResults ?? 10_000;
    if (!Number.isInteger(most) || most < 100 || most > 10_000) {
      throw invalid("MaxResults must be from 100 to 10000.");
    }
    const query = {
      account: call.account_id,
      action,
      parameters: [record.snapshot_id, first?.snapshot_id ?? ""],
    };
    let from = input.StartingBlockIndex ?? 0;
    if (input.NextToken !== undefined) {
      const refused = () =>
        invalid("NextToken is not one that an earlier answer gave.", "INVALID_PAGE_TOKEN");
      from = Number(readToken(query, input.NextToken, refused));
    }
    for (const one of [record, first]) {
      if (one !== undefined && one.state !== "completed") {
        throw invalid(`The snapshot '${one.snapshot_id}' is ${one.state}.`);
      }
    }
    const found = await this.#ask(listSnapshotBlocks, {
      snapshot_id: record.snapshot_id,
      ...(first === undefined ? {} : { first_id: first.snapshot_id }),
      from,
      most,
    }, call);
    return {
      found,
      ...(found.next === undefined ? {} : { NextToken: makeToken(query, String(found.next)) }),
    };
  }

  async listSnapshotBlocks(
    input: In<Ebs.ListSnapshotBlocksCommandInput>,
    call: CallContext,
  ): Promise<Out<Ebs.ListSnapshotBlocksCommandOutput>> {
    const record = await this.#usable("ListSnapshotBlocks", input.SnapshotId, call);
    const { found, ...next } = await this.#list(
      "ListSnapshotBlocks",
      input,
      record,
      undefined,
      call,
    );
    return {
      Blocks: found.blocks.map(({ index }) => ({
        BlockIndex: index,
        BlockToken: blockToken(record.snapshot_id, index),
      })),
      BlockSize: directBlockBytes,
      VolumeSize: record.size_gib,
      ExpiryTime: new Date(Date.now() + tokensServe_ms).toISOString(),
      ...next,
    };
  }

  async listChangedBlocks(
    input: In<Ebs.ListChangedBlocksCommandInput>,
    call: CallContext,
  ): Promise<Out<Ebs.ListChangedBlocksCommandOutput>> {
    const record = await this.#usable("ListChangedBlocks", input.SecondSnapshotId, call);
    const first = input.FirstSnapshotId === undefined
      ? undefined
      : await this.#usable("ListChangedBlocks", input.FirstSnapshotId, call);
    const { found, ...next } = await this.#list("ListChangedBlocks", input, record, first, call);
    const shown = (block: ChangedBlock) => ({
      BlockIndex: block.index,
      ...(first !== undefined && block.first
        ? { FirstBlockToken: blockToken(first.snapshot_id, block.index) }
        : {}),
      ...(block.second ? { SecondBlockToken: blockToken(record.snapshot_id, block.index) } : {}),
    });
    return {
      ChangedBlocks: found.blocks.map(shown),
      BlockSize: directBlockBytes,
      VolumeSize: record.size_gib,
      ExpiryTime: new Date(Date.now() + tokensServe_ms).toISOString(),
      ...next,
    };
  }

  async getSnapshotBlock(
    input: In<Ebs.GetSnapshotBlockCommandInput>,
    call: CallContext,
  ): Promise<Record<string, unknown>> {
    const record = await this.#usable("GetSnapshotBlock", input.SnapshotId, call);
    const { snapshot_id } = record;
    const block_index = Number(input.BlockIndex);
    if (
      !Number.isInteger(block_index) || input.BlockToken !== blockToken(snapshot_id, block_index)
    ) {
      throw invalid("BlockToken is not the one of this block.", "INVALID_BLOCK_TOKEN");
    }
    const { data } = await this.#ask(readSnapshotBlock, { snapshot_id, block_index }, call);
    return {
      DataLength: directBlockBytes,
      BlockData: data,
      Checksum: sha256(Uint8Array.fromBase64(data)),
      ChecksumAlgorithm: "SHA256",
    };
  }

  /** Gives up snapshots whose writers are silent. */
  async sweep(now_ms = Date.now()): Promise<void> {
    for (const record of this.#o.state.snapshots.all()) {
      if (record.state !== "pending" || record.written === undefined) continue;
      if (record.making_until !== undefined) continue;
      const { snapshot_id } = record;
      const heard_ms = this.#heard.get(snapshot_id) ?? this.#started_ms;
      if (now_ms - heard_ms < record.written.timeout_min * 60_000) continue;
      try {
        await this.#o.bus.ask(abandonSnapshot, { snapshot_id });
        await this.#o.state.snapshots.modify(
          record.account_id,
          snapshot_id,
          (now) => now.state === "pending" ? { ...now, state: "error" } : now,
        );
        this.#heard.delete(snapshot_id);
      } catch (error) {
        this.#o.log.warn("snapshot_not_given_up", { snapshot_id, ...errorFields(error) });
      }
    }
  }

  /** Answers `ebs.<Action>` until the bus is drained. */
  register(): void {
    const handlers: Record<
      (typeof directActions)[number],
      (input: never, call: CallContext) => Promise<unknown>
    > = {
      CompleteSnapshot: (input, call) => this.completeSnapshot(input, call),
      GetSnapshotBlock: (input, call) => this.getSnapshotBlock(input, call),
      ListChangedBlocks: (input, call) => this.listChangedBlocks(input, call),
      ListSnapshotBlocks: (input, call) => this.listSnapshotBlocks(input, call),
      PutSnapshotBlock: (input, call) => this.putSnapshotBlock(input, call),
      StartSnapshot: (input, call) => this.startSnapshot(input, call),
    };
    for (const [action, handle] of Object.entries(handlers)) {
      this.#o.bus.answer(
        subject<never, unknown>(`ebs.${action}`),
        (input, context) => handle(input ?? ({} as never), context),
      );
    }
    this.#timer = setInterval(() => void this.sweep(), sweep_ms);
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
