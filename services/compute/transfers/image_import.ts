/**
 * Bringing a disk image file in: onto a new volume of the block store, frozen as a snapshot, and
 * registered as an AMI.
 *
 * The image's record is written first, `pending`, with the ids of everything that the import will
 * make: it holds the name, and it is what a later run cleans up by when this one is cut short. Any
 * failure takes all of it back; what cannot be taken back now (the block store is away) stays in a
 * `failed` record and is tried again with every sweep.
 */
import { isAbsolute } from "node:path";
import type { Bus } from "../../bus/bus.ts";
import type { NodeConfig } from "../../config/node_config.ts";
import { errorFields, type Log } from "../../log/log.ts";
import { invalidCombination, invalidParameter, invalidValue } from "../../resources/errors.ts";
import { newId } from "../../resources/ids.ts";
import { checkTags } from "../../resources/tags.ts";
import {
  type ImageRecord,
  importImage,
  type ImportImageRequest,
  type ImportProgress,
} from "../contract.ts";
import { forgetFrozen, freezeFile } from "./frozen_file.ts";
import { type ImageFile, inspectImage } from "./image_files.ts";
import { imageType } from "../images/image_type.ts";
import { checkImageName, checkNameIsFree } from "../images/image_names.ts";
import type { ComputeState } from "../state.ts";
import { checkCapacity, gib } from "../volumes/volume_lifecycle.ts";
import { snapshotType, volumeType } from "../volumes/volume_type.ts";
import { defaultKey } from "../record_families/account_settings.ts";
import {
  chooseEncryption,
  type Encryption,
  encryptionDefaults,
} from "../volumes/encryption_choice.ts";

const sweep_ms = 60_000;

export interface ImporterDependencies {
  readonly bus: Bus;
  readonly log: Log;
  readonly config: Pick<NodeConfig, "node_id" | "region">;
  readonly state: ComputeState;
}

function checkRequest(request: ImportImageRequest): void {
  if (!/^\d{12}$/.test(request.account_id)) {
    throw invalidParameter("account_id", request.account_id, "Expected: twelve digits.");
  }
  if (!["raw", "qcow2", "vmdk"].includes(request.format)) {
    throw invalidParameter("format", request.format, "Expected: raw, qcow2 or vmdk.");
  }
  if (request.architecture !== "x86_64" && request.architecture !== "arm64") {
    throw invalidParameter("architecture", request.architecture, "Expected: x86_64 or arm64.");
  }
  if (typeof request.path !== "string" || !isAbsolute(request.path)) {
    throw invalidValue("The path of an image must be absolute.");
  }
  checkImageName(request.name);
  checkTags(Object.entries(request.tags ?? {}).map(([Key, Value]) => ({ Key, Value })));
}

export class ImageImporter {
  readonly #running = new Set<string>();
  readonly #background = new Set<Promise<void>>();
  readonly #stop = new AbortController();

  constructor(readonly dependencies: ImporterDependencies) {}

  /** Answers imports, and takes back what an earlier run of this node left. */
  start(): void {
    const { bus } = this.dependencies;
    bus.answer(importImage, (request, _context, signal) => this.import(request, signal));
    this.sweep();
    const timer = setInterval(() => this.sweep(), sweep_ms);
    this.#stop.signal.addEventListener("abort", () => clearInterval(timer));
  }

  /** Ends running imports; they take back what they made. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error("the service stops"));
    await Promise.allSettled([...this.#background]);
  }

  sweep(): void {
    for (const image of this.dependencies.state.images.all()) {
      if (image.importing?.node_id !== this.dependencies.config.node_id) continue;
      if (this.#running.has(image.image_id)) continue;
      this.#inBackground(this.#takeBack(image));
    }
  }

  #inBackground(work: Promise<void>): void {
    const done = work.finally(() => this.#background.delete(done));
    this.#background.add(done);
  }

  /** @throws AwsError, and leaves nothing behind */
  async import(
    request: ImportImageRequest,
    signal: AbortSignal,
  ): Promise<{ readonly image_id: string }> {
    checkRequest(request);
    this.#encryptionOf(request);
    const { bus, state } = this.dependencies;
    const ending = AbortSignal.any([signal, this.#stop.signal]);
    checkNameIsFree(state, request.account_id, request.name);
    const file = await inspectImage(request.path, request.format, ending);
    await checkCapacity(bus, Math.ceil(file.virtual_size_bytes / gib));
    const image = this.#plan(request, file);
    this.#running.add(image.image_id);
    const work = this.#bringIn(image, file, ending);
    this.#inBackground(work.then(() => {}, () => {}));
    return await work;
  }

  /** As the account wants it always. @throws AwsError for an encrypted image that is to be public, as EC2 has none */
  #encryptionOf({ account_id, public: isPublic }: ImportImageRequest): Encryption {
    const { config, state } = this.dependencies;
    const encryption = chooseEncryption(
      {},
      encryptionDefaults(state.records, config.region, account_id),
    );
    if (encryption.encrypted === true && isPublic === true) {
      throw invalidCombination(
        "The account encrypts by default, and an image with encrypted snapshots cannot be public.",
      );
    }
    return encryption;
  }

  #plan(request: ImportImageRequest, file: ImageFile): ImageRecord {
    const snapshot_id = newId(snapshotType.idPrefix);
    const { encrypted } = this.#encryptionOf(request);
    const root = "/dev/xvda";
    return {
      image_id: newId(imageType.idPrefix),
      account_id: request.account_id,
      name: request.name,
      ...(request.description === undefined ? {} : { description: request.description }),
      architecture: request.architecture,
      state: "pending",
      boot_mode: "uefi",
      root_device_name: root,
      block_devices: [{
        device: root,
        snapshot_id,
        size_gib: Math.ceil(file.virtual_size_bytes / gib),
        ...(encrypted === true ? { encrypted } : {}),
        delete_on_termination: true,
      }],
      public: request.public ?? encrypted !== true,
      creation_date: new Date().toISOString(),
      importing: {
        node_id: this.dependencies.config.node_id,
        volume_id: newId(volumeType.idPrefix),
        snapshot_id,
      },
      tags: request.tags ?? {},
    };
  }

  async #bringIn(
    image: ImageRecord,
    file: ImageFile,
    signal: AbortSignal,
  ): Promise<{ readonly image_id: string }> {
    const { bus, log, state } = this.dependencies;
    const { account_id, image_id, name, importing } = image;
    if (importing === undefined) throw new TypeError("an import plans what it makes");
    const { volume_id, snapshot_id } = importing;
    const encrypted = image.block_devices[0]?.encrypted === true;
    const started = performance.now();
    const progress = (percent: number) =>
      bus.say<ImportProgress>(`compute.event.import.${image_id}`, { name, percent });
    try {
      await state.images.create(image);
      checkNameIsFree(state, account_id, name, image_id);
      progress(0);
      await freezeFile(bus, file, { volume_id, snapshot_id, encrypted }, progress, signal);
      await state.snapshots.create({
        snapshot_id,
        account_id,
        size_gib: image.block_devices[0]?.size_gib ?? 1,
        description: `Made by the import of ${name} as ${image_id}`,
        goes_with_images: true,
        ...(encrypted
          ? {
            encrypted: true as const,
            kms_key_id: defaultKey(this.dependencies.config.region, account_id),
          }
          : {}),
        state: "completed",
        start_time: image.creation_date,
        tags: {},
      });
      signal.throwIfAborted();
      await state.images.modify(account_id, image_id, ({ importing: _done, ...now }) => ({
        ...now,
        state: "available",
      }));
    } catch (error) {
      await this.#takeBack(image);
      throw error;
    } finally {
      this.#running.delete(image_id);
    }
    log.info("image_imported", {
      image_id,
      size_bytes: file.virtual_size_bytes,
      duration_ms: Math.round(performance.now() - started),
    });
    return { image_id };
  }

  /** Deletes everything that an import has made. What fails is kept in the record for the next sweep. */
  async #takeBack({ account_id, image_id, importing }: ImageRecord): Promise<void> {
    if (importing === undefined) return;
    const { bus, log, state } = this.dependencies;
    const { volume_id, snapshot_id } = importing;
    try {
      await forgetFrozen(bus, { volume_id, snapshot_id });
      await state.snapshots.delete(account_id, snapshot_id);
      await state.images.delete(account_id, image_id);
    } catch (error) {
      log.warn("import_cleanup_delayed", { image_id, ...errorFields(error) });
      await state.images.modify(account_id, image_id, (now) => ({ ...now, state: "failed" }))
        .catch((cause) => log.warn("import_cleanup_delayed", { image_id, ...errorFields(cause) }));
    }
  }
}
