import { testConfig } from "./compute.ts";
import type { Random } from "./random.ts";
import { alice, bob } from "./resource_side.ts";
import { newId } from "../../services/resources/ids.ts";
import type { Input } from "../../services/resources/wire.ts";
import type { RecordAction } from "../../services/compute/record_families/record_families.ts";
import type { ResourceAction } from "../../services/compute/resource_actions.ts";

/**
 * Inputs of the shape that the gateway lets through, with values that nobody sane would send.
 * `live` answers ids that exist, of this account and of another.
 */
export class HostileInputs {
  readonly tokens: string[] = [];
  constructor(
    readonly random: Random,
    readonly publicKey: string,
    readonly live: (prefix: string) => readonly string[],
  ) {}

  text(): string {
    return this.random.pick([
      "",
      "a",
      "name",
      "*",
      "?\\",
      "__proto__",
      "constructor",
      "../../etc/passwd",
      "é\u0000\n",
      "x".repeat(300),
      "aws:reserved",
      "k1",
      "k2",
      "0",
      "-1",
      "true",
      "$KV.>",
    ]);
  }

  id(prefix = this.random.pick(["vol-", "i-", "ami-", "snap-", "key-"])): string {
    const live = this.live(prefix);
    return this.random.next() < 0.8 && live.length > 0 ? this.random.pick(live) : this.random.pick([
      this.text(),
      newId("vol-"),
      newId("i-"),
      newId("ami-"),
      newId("snap-"),
      "vol-1",
      "key-*",
    ]);
  }

  number(): number {
    return this.random.pick([-(2 ** 31), -1, 0, 1, 2, 5, 100, 3000, 65_537, 2 ** 31 - 1]);
  }

  device(): string {
    return this.random.pick(["/dev/sdf", "/dev/sdg", "/dev/xvda", "sdb", this.text()]);
  }

  many<T>(make: () => T, most = 4): T[] {
    return Array.from({ length: this.random.below(most + 1) }, make);
  }

  container() {
    return this.some({
      Format: this.sane("raw", () => this.text()),
      UserBucket: this.sane(
        { S3Bucket: "bucket", S3Key: "disk" },
        () => this.some({ S3Bucket: this.text(), S3Key: this.text() }),
      ),
      SnapshotId: this.id("snap-"),
      Url: this.text(),
      DeviceName: this.device(),
    }, 0.6);
  }

  filters(names: readonly string[]) {
    return this.many(() => ({
      Name: this.random.pick([...names, "tag:k1", "tag-key", "tag-value", this.text()]),
      Values: this.many(() => this.random.pick([this.text(), this.id()])),
    }), 2);
  }

  tags() {
    return this.many(() => ({ Key: this.text(), Value: this.text() }));
  }

  specifications() {
    return this.many(() => ({
      ResourceType: this.random.pick(["volume", "key-pair", "image", "instance"] as const),
      Tags: this.tags(),
    }), 1);
  }

  /** Leaves out some of the members. */
  some<T extends object>(all: T, share = 0.6): Partial<T> {
    return Object.fromEntries(
      Object.entries(all).filter(() => this.random.next() < share),
    ) as Partial<T>;
  }

  /** What makes sense, half of the time. */
  sane<T>(sense: T, other: () => T): T {
    return this.random.next() < 0.5 ? sense : other();
  }

  page() {
    return this.some({
      MaxResults: this.number(),
      NextToken: this.random.pick([this.text(), ...this.tokens]),
      DryRun: this.random.next() < 0.1,
    });
  }

  readonly of: { readonly [Name in Exclude<ResourceAction, RecordAction>]: () => Input<Name> } = {
    AttachVolume: () => ({
      VolumeId: this.id("vol-"),
      InstanceId: this.id("i-"),
      Device: this.device(),
    }),
    CancelExportTask: () => ({ ExportTaskId: this.id("export-ami-") }),
    CancelImportTask: () => this.some({ ImportTaskId: this.id("import-snap-") }, 0.9),
    CopyImage: () => ({
      SourceRegion: this.sane(testConfig.region, () => this.text()),
      SourceImageId: this.id("ami-"),
      Name: this.random.pick(["a copy", "copy 2", this.text()]),
      ...this.some({
        ClientToken: this.text(),
        CopyImageTags: true,
        TagSpecifications: this.specifications(),
      }, 0.2),
    }),
    CopyVolumes: () => ({
      SourceVolumeId: this.id("vol-"),
      ...this.some({
        Size: this.number(),
        Iops: this.number(),
        ClientToken: this.text(),
        TagSpecifications: this.specifications(),
      }, 0.2),
    }),
    CopySnapshot: () => ({
      SourceRegion: this.sane(testConfig.region, () => this.text()),
      SourceSnapshotId: this.id("snap-"),
      ...this.some({ Description: this.text(), TagSpecifications: this.specifications() }, 0.2),
    }),
    CreateImage: () => ({
      InstanceId: this.id("i-"),
      Name: this.random.pick(["a copy", this.text()]),
      ...this.some({ Description: this.text(), TagSpecifications: this.specifications() }, 0.2),
    }),
    CreateSnapshot: () => ({
      VolumeId: this.id("vol-"),
      ...this.some({ Description: this.text(), TagSpecifications: this.specifications() }, 0.2),
    }),
    CreateSnapshots: () => ({
      InstanceSpecification: {
        InstanceId: this.id("i-"),
        ...this.some({
          ExcludeBootVolume: true,
          ExcludeDataVolumeIds: this.many(() => this.id("vol-"), 1),
        }),
      },
    }),
    CreateKeyPair: () => ({
      KeyName: this.text(),
      KeyType: "ed25519",
      ...this.some({ TagSpecifications: this.specifications() }),
    }),
    CreateTags: () => ({
      Resources: this.sane([this.id("vol-")], () => this.many(() => this.id())),
      Tags: this.sane([{ Key: "k1", Value: this.text() }], () => this.tags()),
    }),
    CreateVolume: () => ({
      AvailabilityZone: this.sane(testConfig.az, () => this.text()),
      ...this.some({ Size: this.sane(1, () => this.number()) }, 0.9),
      ...this.some({
        Iops: this.number(),
        Throughput: this.number(),
        SnapshotId: this.id("snap-"),
        VolumeType: this.random.pick(["gp3", "gp2", "io1", "standard"] as const),
        ClientToken: this.text(),
        TagSpecifications: this.specifications(),
      }, 0.15),
    }),
    DeleteKeyPair: () => this.some({ KeyName: this.text(), KeyPairId: this.id("key-") }),
    DeleteSnapshot: () => ({ SnapshotId: this.id("snap-") }),
    DeleteTags: () => ({
      Resources: this.sane([this.id("vol-")], () => this.many(() => this.id())),
      ...this.some({ Tags: this.tags() }),
    }),
    DeleteVolume: () => ({ VolumeId: this.id("vol-") }),
    DeregisterImage: () => ({
      ImageId: this.id("ami-"),
      ...this.some({ DeleteAssociatedSnapshots: true }),
    }),
    DescribeImageAttribute: () => ({
      ImageId: this.id("ami-"),
      Attribute: this.sane("launchPermission" as const, () => this.text() as "kernel"),
    }),
    DescribeSnapshotAttribute: () => ({
      SnapshotId: this.id("snap-"),
      Attribute: this.sane("createVolumePermission" as const, () => "productCodes"),
    }),
    DescribeExportImageTasks: () => ({
      ...this.some({ ExportImageTaskIds: this.many(() => this.id("export-ami-"), 1) }),
      ...this.page(),
    }),
    DescribeImportImageTasks: () => ({
      ...this.some({
        ImportTaskIds: this.many(() => this.id("import-ami-"), 1),
        Filters: this.filters(["task-state"]),
      }),
      ...this.page(),
    }),
    DescribeImportSnapshotTasks: () => this.page(),
    ExportImage: () => ({
      ImageId: this.id("ami-"),
      DiskImageFormat: this.sane("RAW", () => this.text() as "RAW"),
      S3ExportLocation: {
        S3Bucket: this.sane("bucket", () => this.text()),
        ...this.some({ S3Prefix: this.text() }),
      },
      ...this.some({ ClientToken: this.text(), TagSpecifications: this.specifications() }, 0.2),
    }),
    ImportImage: () => ({
      DiskContainers: this.sane([this.container()], () => this.many(() => this.container(), 2)),
      ...this.some({
        Architecture: this.text(),
        BootMode: "uefi",
        Description: this.text(),
        ClientToken: this.text(),
      }, 0.2),
    }),
    ImportSnapshot: () => ({
      ...this.some({ DiskContainer: this.container() }, 0.9),
      ...this.some({ ClientToken: this.text(), Encrypted: true }, 0.1),
    }),
    DescribeVolumeAttribute: () => ({
      VolumeId: this.id("vol-"),
      Attribute: this.random.pick(["autoEnableIO", "productCodes", this.text() as "productCodes"]),
    }),
    DescribeFastSnapshotRestores: () => this.page(),
    DisableFastSnapshotRestores: () => ({
      SourceSnapshotIds: this.many(() => this.id("snap-"), 3),
      AvailabilityZones: this.sane(["ap-southeast-2a"], () => this.many(() => this.text(), 2)),
      ...this.some({ AvailabilityZoneIds: [this.text()] }, 0.1),
    }),
    EnableFastSnapshotRestores: () => ({
      SourceSnapshotIds: this.many(() => this.id("snap-"), 3),
      AvailabilityZones: this.sane(["ap-southeast-2a"], () => this.many(() => this.text(), 2)),
      ...this.some({ AvailabilityZoneIds: [this.text()] }, 0.1),
    }),
    DisableImage: () => ({ ImageId: this.id("ami-") }),
    DisableImageDeprecation: () => ({ ImageId: this.id("ami-") }),
    DisableImageDeregistrationProtection: () => ({ ImageId: this.id("ami-") }),
    EnableImage: () => ({ ImageId: this.id("ami-") }),
    EnableImageDeprecation: () => ({
      ImageId: this.id("ami-"),
      DeprecateAt: new Date(Date.now() + this.number() * 60_000).toISOString(),
    }),
    EnableImageDeregistrationProtection: () => ({
      ImageId: this.id("ami-"),
      ...this.some({ WithCooldown: false }),
    }),
    DescribeAvailabilityZones: () =>
      this.some({
        Filters: this.filters(["zone-id", "state"]),
        ZoneNames: this.many(() => this.text()),
      }),
    DescribeImages: () => ({
      ...this.some({
        Filters: this.filters(["name", "state", "block-device-mapping.volume-size"]),
        ImageIds: this.many(() => this.id("ami-"), 1),
        Owners: this.many(() => this.random.pick(["self", "amazon", alice, this.text()]), 1),
      }),
      ...this.page(),
    }),
    DescribeInstanceTypes: () => ({
      ...this.some({ Filters: this.filters(["instance-type", "vcpu-info.default-vcpus"]) }),
      ...this.page(),
    }),
    DescribeKeyPairs: () =>
      this.some({
        Filters: this.filters(["key-name", "fingerprint"]),
        KeyNames: this.many(() => this.text(), 1),
        KeyPairIds: this.many(() => this.id("key-"), 1),
        IncludePublicKey: true,
      }),
    DescribeRegions: () =>
      this.some({
        Filters: this.filters(["region-name"]),
        RegionNames: this.many(() => this.text(), 1),
      }),
    DescribeSnapshots: () => ({
      ...this.some({
        Filters: this.filters(["status", "volume-id", "description"]),
        SnapshotIds: this.many(() => this.id("snap-"), 1),
        OwnerIds: this.many(() => this.random.pick(["self", alice, this.text()]), 1),
      }),
      ...this.page(),
    }),
    DescribeVolumesModifications: () => ({
      ...this.some({
        Filters: this.filters(["modification-state", "target-size"]),
        VolumeIds: this.many(() => this.id("vol-"), 1),
      }),
      ...this.page(),
    }),
    DescribeTags: () => ({
      ...this.some({ Filters: this.filters(["key", "value", "resource-id"]) }),
      ...this.page(),
    }),
    DescribeVolumeStatus: () => ({
      ...this.some({
        Filters: this.filters(["volume-status.status", "availability-zone"]),
        VolumeIds: this.many(() => this.id("vol-"), 1),
      }),
      ...this.page(),
    }),
    DescribeVolumes: () => ({
      ...this.some({
        Filters: this.filters(["status", "size", "attachment.device"]),
        VolumeIds: this.many(() => this.id("vol-"), 1),
      }),
      ...this.page(),
    }),
    DetachVolume: () => ({
      VolumeId: this.id("vol-"),
      ...this.some({ InstanceId: this.id("i-"), Device: this.device(), Force: true }, 0.3),
    }),
    ImportKeyPair: () => ({
      KeyName: this.text(),
      PublicKeyMaterial: this.random.pick([
        this.publicKey,
        this.text(),
        new TextEncoder().encode(this.text()).toBase64(),
      ]),
    }),
    ModifyImageAttribute: () => ({
      ImageId: this.id("ami-"),
      ...this.some({
        Attribute: this.sane("launchPermission", () => this.text()),
        Description: { Value: this.text() },
        ImdsSupport: { Value: this.sane("v2.0", () => this.text()) },
      }),
      ...this.sane(
        { OperationType: "add" as const, UserIds: this.many(() => bob) },
        () =>
          this.some({
            OperationType: this.random.pick(["add", "remove"] as const),
            UserGroups: this.many(() => this.sane("all", () => this.text())),
            UserIds: this.many(() => this.sane(alice, () => this.text())),
            LaunchPermission: this.some({
              Add: this.many(() => this.some({ UserId: this.sane(bob, () => this.text()) })),
              Remove: this.many(() => this.some({ Group: "all" as const })),
            }),
          }, 0.4),
      ),
    }),
    ModifySnapshotAttribute: () => ({
      SnapshotId: this.id("snap-"),
      ...this.some({
        Attribute: this.sane("createVolumePermission" as const, () => "productCodes"),
      }),
      ...this.sane({ OperationType: "add", UserIds: this.many(() => bob) }, () =>
        this.some({
          OperationType: this.random.pick(["add", "remove"] as const),
          GroupNames: this.many(() => this.sane("all", () => this.text())),
          UserIds: this.many(() => this.sane(alice, () => this.text())),
          CreateVolumePermission: this.some({
            Add: this.many(() => this.some({ UserId: this.sane(bob, () => this.text()) })),
            Remove: this.many(() => this.some({ Group: "all" as const })),
          }),
        }, 0.4)),
    }),
    ModifyVolume: () => ({
      VolumeId: this.id("vol-"),
      ...this.some({
        Size: this.sane(2, () => this.number()),
        Iops: this.number(),
        Throughput: this.number(),
      }, 0.4),
    }),
    ModifyVolumeAttribute: () => ({
      VolumeId: this.id("vol-"),
      ...this.some({ AutoEnableIO: this.some({ Value: true }) }),
    }),
    ResetImageAttribute: () => ({
      ImageId: this.id("ami-"),
      Attribute: this.sane("launchPermission" as const, () => this.text() as never),
    }),
    ResetSnapshotAttribute: () => ({
      SnapshotId: this.id("snap-"),
      Attribute: this.sane("createVolumePermission" as const, () => "productCodes"),
    }),
    RegisterImage: () => ({
      Name: this.random.pick(["an image", "image 2", this.text()]),
      ...this.some({
        RootDeviceName: this.device(),
        Description: this.text(),
      }, 0.2),
      BlockDeviceMappings: this.sane(
        [{ DeviceName: "/dev/xvda", Ebs: { SnapshotId: this.id("snap-") } }],
        () =>
          this.many(() =>
            this.some({
              DeviceName: this.device(),
              Ebs: this.some({ SnapshotId: this.id("snap-"), VolumeSize: this.number() }),
            }), 2),
      ),
    }),
  };
}
