import assert from "node:assert/strict";
import { ConfigError, parseConfig } from "./node_config.ts";

const config = (storage: Record<string, unknown>) =>
  JSON.stringify({
    version: 1,
    cluster_id: "c-1",
    node_id: "n-1",
    region: "ap-southeast-2",
    az: "ap-southeast-2a",
    data_dir: "/var/lib/mulga",
    bind: "127.0.0.1",
    profile: "mulga",
    ports: { gateway: 9999, s3: 9002, nats: 4222, control: 8443 },
    storage: { blobs: ["/blobs"], data_shards: 1, parity_shards: 0, reserve_bytes: 1, ...storage },
    compute: { accelerator: "auto", cpu_overcommit: 4, reserve_memory_mib: 1024 },
  });

Deno.test("what volumes may keep of the disk is a number of bytes, or not said", () => {
  const bytes = (storage: Record<string, unknown>) =>
    parseConfig(config(storage), "config.json").storage.volume_cache_bytes;
  assert.equal(bytes({}), undefined);
  assert.equal(bytes({ volume_cache_bytes: 0 }), 0);
  assert.equal(bytes({ volume_cache_bytes: 40 * 2 ** 30 }), 40 * 2 ** 30);
  for (const wrong of [-1, 1.5, "40G", null, {}, 2 ** 60]) {
    assert.throws(() => bytes({ volume_cache_bytes: wrong }), ConfigError, JSON.stringify(wrong));
  }
});
