/** The tables that compute keeps besides its instances, shared by its actions; open_state.ts opens them. */
import type { ClientTokens } from "../resources/client_tokens.ts";
import type { Records } from "../resources/records.ts";
import type { Resources } from "../resources/resource.ts";
import type { ImageRecord, KeyPairRecord, SnapshotRecord, VolumeRecord } from "./contract.ts";

export interface ComputeState extends AsyncDisposable {
  readonly volumes: Resources<VolumeRecord>;
  readonly snapshots: Resources<SnapshotRecord>;
  readonly images: Resources<ImageRecord>;
  readonly keyPairs: Resources<KeyPairRecord>;
  readonly tokens: ClientTokens;
  readonly records: Records;
}
