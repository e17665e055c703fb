/** Opens the tables that compute keeps besides its instances. */
import type { Bus } from "../bus/bus.ts";
import type { Log } from "../log/log.ts";
import { ClientTokens } from "../resources/client_tokens.ts";
import { Resources } from "../resources/resource.ts";
import { buckets } from "./contract.ts";
import { imageType } from "./images/image_type.ts";
import { keyPairType } from "./keys/key_pairs.ts";
import { openRecords } from "./record_families/record_families.ts";
import type { ComputeState } from "./state.ts";
import { snapshotType, volumeType } from "./volumes/volume_type.ts";

export async function openState(bus: Bus, log: Log): Promise<ComputeState> {
  const [volumes, snapshots, images, keyPairs, tokens, records] = await Promise.all([
    Resources.open(volumeType, bus, log),
    Resources.open(snapshotType, bus, log),
    Resources.open(imageType, bus, log),
    Resources.open(keyPairType, bus, log),
    ClientTokens.open(bus, buckets.clientTokens, log),
    openRecords(bus, log),
  ]);
  return {
    volumes,
    snapshots,
    images,
    keyPairs,
    tokens,
    records,
    async [Symbol.asyncDispose]() {
      for (const one of [volumes, snapshots, images, keyPairs, tokens, records]) {
        await one[Symbol.asyncDispose]();
      }
    },
  };
}
