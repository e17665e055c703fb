/** What tests of compute's resources share: records, a plugger without machines, a caller. */
import type { CallContext } from "../../services/bus/subject.ts";
import { systemContext } from "../../services/bus/subject.ts";
import type { Attachment, InstanceRecord } from "../../services/compute/contract.ts";
import type { VolumePlugger } from "../../services/compute/volumes/volume_plugger.ts";
import { defaultPorts, type NodeConfig } from "../../services/config/node_config.ts";
import { newId } from "../../services/resources/ids.ts";

export const testConfig: NodeConfig = {
  version: 1,
  cluster_id: "test",
  node_id: "node-1",
  region: "ap-southeast-2",
  az: "ap-southeast-2a",
  data_dir: "/nowhere",
  bind: "127.0.0.1",
  ports: defaultPorts,
  profile: "mulga",
  storage: { blobs: ["/nowhere/blob"], data_shards: 1, parity_shards: 0, reserve_bytes: 0 },
  compute: { accelerator: "auto", cpu_overcommit: 4, reserve_memory_mib: 0 },
};

export function callerOf(account_id: string): CallContext {
  return {
    ...systemContext(600_000),
    account_id,
    principal_arn: `arn:aws:iam::${account_id}:user/test`,
    region: testConfig.region,
  };
}

export function instanceRecord(more: Partial<InstanceRecord> = {}): InstanceRecord {
  const now = new Date().toISOString();
  return {
    instance_id: newId("i-"),
    account_id: "111111111111",
    reservation_id: newId("r-"),
    launch_index: 0,
    image_id: newId("ami-"),
    instance_type: "t3.micro",
    architecture: "x86_64",
    node_id: testConfig.node_id,
    az: testConfig.az,
    wanted: "running",
    state: "running",
    launch_time: now,
    state_time: now,
    network: {
      private_ip: "10.0.2.15",
      private_dns_name: "ip-10-0-2-15.internal",
      mac: "02:00:00:00:00:01",
      subnet_id: newId("subnet-"),
      vpc_id: newId("vpc-"),
      interface_id: newId("eni-"),
    },
    metadata_options: {
      http_tokens: "required",
      http_endpoint: "enabled",
      instance_metadata_tags: "disabled",
    },
    root_device_name: "/dev/xvda",
    attachments: [],
    tags: {},
    ...more,
  };
}

/** Remembers what is plugged into which instance. */
export class TestPlugger implements VolumePlugger {
  readonly plugged = new Map<string, { instance_id: string; slot: number; socket: string }>();
  /** What it throws is how the machine refuses. */
  before: (step: "plug" | "unplug" | "grow") => void | Promise<void> = () => {};

  async plug(instance: InstanceRecord, attachment: Attachment, socket: string): Promise<void> {
    await this.before("plug");
    this.plugged.set(attachment.volume_id, {
      instance_id: instance.instance_id,
      slot: attachment.slot,
      socket,
    });
  }

  /** Sizes that guests were told. */
  readonly grown = new Map<string, number>();

  async grow(_instance: InstanceRecord, attachment: Attachment, size_bytes: number): Promise<void> {
    await this.before("grow");
    this.grown.set(attachment.volume_id, size_bytes);
  }

  async unplug(_instance: InstanceRecord, attachment: Attachment): Promise<void> {
    await this.before("unplug");
    this.plugged.delete(attachment.volume_id);
  }
}
