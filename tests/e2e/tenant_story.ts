/**
 * The story of one tenant, told through any client: from a VPC to an instance, its volume's snapshot and
 * a volume restored from that, and back to nothing. The other tenant tells its own at the same time.
 *
 * The guest writes and reads the volumes itself: what to do it learns from its instance's tags, and what
 * it read it says on its console, as digests that the test works out for itself.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { ActionName } from "../../services/resources/wire.ts";
import type { Driver } from "../kit/ec2_drivers.ts";
import type { SdkInput } from "../kit/ec2_scenario.ts";
import { untilWorks } from "../kit/until.ts";

/** Where the guest writes 4 MiB each, in MiB: the start, the middle and the end of 1 GiB. */
const places = [0, 512, 1020];

const guestScript = (tenant: string) =>
  `#!/bin/sh
say() { echo "story: $*" >/dev/console; }
tag() { imds "tags/instance/$1" 2>/dev/null; }
disk() {
  while :; do
    volume=$(tag "$1" | tr -d -)
    [ -n "$volume" ] && [ -b "/dev/disk/by-id/virtio-$volume" ] && break
    sleep 1
  done
  echo "/dev/disk/by-id/virtio-$volume"
}
put() {
  for at in ${places.join(" ")}; do
    yes "${tenant} $2 at $at" | head -c 4194304 | dd of="$1" bs=1M seek=$at conv=notrunc,fsync 2>/dev/null
  done
  sync
}
sum() {
  for at in ${places.join(" ")}; do dd if="$1" bs=1M skip=$at count=4 2>/dev/null; done |
    sha256sum | cut -d' ' -f1
}
written=$(disk write)
put "$written" first
say "wrote $(sum "$written")"
until [ "$(tag overwrite)" = yes ]; do sleep 1; done
put "$written" second
say "overwrote $(sum "$written")"
restored=$(disk read)
say "restored $(sum "$restored")"
`;

/** The digest that the guest must find of what it wrote. */
function digestOf(tenant: string, pattern: string): string {
  const hash = createHash("sha256");
  for (const at of places) {
    const line = `${tenant} ${pattern} at ${at}\n`;
    hash.update(line.repeat(Math.ceil(4194304 / line.length)).slice(0, 4194304));
  }
  return hash.digest("hex");
}

export interface StoryOptions {
  readonly driver: Driver;
  /** Its name, in the data that its guest writes. */
  readonly tenant: string;
  readonly zone: string;
  readonly image: string;
  readonly instanceType: string;
  /** Also makes what a VPC is connected by, NAT gateway, VPN and peering, and imports a disk. */
  readonly connected: boolean;
  /** Waiters that were used are added. */
  readonly waited: Set<string>;
}

const idOf = (id: string | undefined): string => {
  assert.ok(id);
  return id;
};

/** One tenant's resources, made step by step. */
export class TenantStory {
  readonly #o: StoryOptions;
  vpc = "";
  subnet = "";
  gateway = "";
  routeTable = "";
  association = "";
  group = "";
  interface = "";
  template = "";
  instance = "";
  written = "";
  snapshot = "";
  restored = "";
  image = "";
  readonly key: string;

  constructor(options: StoryOptions) {
    this.#o = options;
    this.key = `${options.tenant}-key`;
  }

  async #wait(waiter: string, input: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#o.driver.wait(waiter, input);
    this.#o.waited.add(waiter);
  }

  async #refused<A extends ActionName>(
    code: string | RegExp,
    action: A,
    input: SdkInput<A>,
  ): Promise<void> {
    const got = await this.#o.driver.refusal(action, input);
    if (typeof code === "string") assert.equal(got, code, action);
    else assert.match(got, code, action);
  }

  /** A VPC with a way out, a group, a key and an interface. */
  async network(): Promise<void> {
    const { driver, zone } = this.#o;
    this.vpc = idOf((await driver.call("CreateVpc", { CidrBlock: "10.77.0.0/16" })).Vpc?.VpcId);
    const VpcId = this.vpc;
    await this.#wait("vpc-exists", { VpcIds: [VpcId] });
    await this.#wait("vpc-available", { VpcIds: [VpcId] });
    const routed = async () => {
      const made = await driver.call("CreateInternetGateway", {});
      this.gateway = idOf(made.InternetGateway?.InternetGatewayId);
      const InternetGatewayId = this.gateway;
      await this.#wait("internet-gateway-exists", { InternetGatewayIds: [InternetGatewayId] });
      await driver.call("AttachInternetGateway", { InternetGatewayId, VpcId });
      const { RouteTable } = await driver.call("CreateRouteTable", { VpcId });
      this.routeTable = idOf(RouteTable?.RouteTableId);
      await driver.call("CreateRoute", {
        RouteTableId: this.routeTable,
        DestinationCidrBlock: "0.0.0.0/0",
        GatewayId: InternetGatewayId,
      });
    };
    const placed = async () => {
      const { Subnet } = await driver.call("CreateSubnet", {
        VpcId,
        CidrBlock: "10.77.1.0/24",
        AvailabilityZone: zone,
      });
      this.subnet = idOf(Subnet?.SubnetId);
      await this.#wait("subnet-available", { SubnetIds: [this.subnet] });
    };
    const guarded = async () => {
      const { GroupId } = await driver.call("CreateSecurityGroup", {
        VpcId,
        GroupName: "story",
        Description: "of the story",
      });
      this.group = idOf(GroupId);
      await this.#wait("security-group-exists", { GroupIds: [this.group] });
      await driver.call("AuthorizeSecurityGroupIngress", {
        GroupId: this.group,
        IpPermissions: [{
          IpProtocol: "tcp",
          FromPort: 22,
          ToPort: 22,
          IpRanges: [{ CidrIp: "10.0.0.0/8" }],
        }],
      });
      await driver.call("CreateKeyPair", { KeyName: this.key, KeyType: "ed25519" });
      await this.#wait("key-pair-exists", { KeyNames: [this.key] });
    };
    await Promise.all([routed(), placed(), guarded()]);
    const associated = await driver.call("AssociateRouteTable", {
      RouteTableId: this.routeTable,
      SubnetId: this.subnet,
    });
    this.association = idOf(associated.AssociationId);
    const { NetworkInterface } = await driver.call("CreateNetworkInterface", {
      SubnetId: this.subnet,
      Groups: [this.group],
      PrivateIpAddress: "10.77.1.77",
    });
    this.interface = idOf(NetworkInterface?.NetworkInterfaceId);
    await this.#wait("network-interface-available", { NetworkInterfaceIds: [this.interface] });
  }

  /** NAT gateway, VPN and peering: made, waited for, deleted, waited for. */
  async connections(): Promise<void> {
    if (!this.#o.connected) return;
    const { driver } = this.#o;
    const translated = async () => {
      const { AllocationId } = await driver.call("AllocateAddress", { Domain: "vpc" });
      const { NatGateway } = await driver.call("CreateNatGateway", {
        SubnetId: this.subnet,
        AllocationId: idOf(AllocationId),
      });
      const NatGatewayId = idOf(NatGateway?.NatGatewayId);
      await this.#wait("nat-gateway-available", { NatGatewayIds: [NatGatewayId] });
      await driver.call("DeleteNatGateway", { NatGatewayId });
      await this.#wait("nat-gateway-deleted", { NatGatewayIds: [NatGatewayId] });
      await driver.call("ReleaseAddress", { AllocationId: idOf(AllocationId) });
    };
    const tunnelled = async () => {
      const { CustomerGateway } = await driver.call("CreateCustomerGateway", {
        Type: "ipsec.1",
        IpAddress: "203.0.113.7",
        BgpAsn: 65_010,
      });
      const CustomerGatewayId = idOf(CustomerGateway?.CustomerGatewayId);
      await this.#wait("customer-gateway-available", { CustomerGatewayIds: [CustomerGatewayId] });
      const { VpnGateway } = await driver.call("CreateVpnGateway", { Type: "ipsec.1" });
      const VpnGatewayId = idOf(VpnGateway?.VpnGatewayId);
      const { VpnConnection } = await driver.call("CreateVpnConnection", {
        Type: "ipsec.1",
        CustomerGatewayId,
        VpnGatewayId,
      });
      const VpnConnectionId = idOf(VpnConnection?.VpnConnectionId);
      await this.#wait("vpn-connection-available", { VpnConnectionIds: [VpnConnectionId] });
      await driver.call("DeleteVpnConnection", { VpnConnectionId });
      await this.#wait("vpn-connection-deleted", { VpnConnectionIds: [VpnConnectionId] });
      await driver.call("DeleteVpnGateway", { VpnGatewayId });
      await driver.call("DeleteCustomerGateway", { CustomerGatewayId });
    };
    const peered = async () => {
      const second = await driver.call("CreateVpc", { CidrBlock: "10.78.0.0/16" });
      const PeerVpcId = idOf(second.Vpc?.VpcId);
      const { VpcPeeringConnection } = await driver.call("CreateVpcPeeringConnection", {
        VpcId: this.vpc,
        PeerVpcId,
      });
      const id = idOf(VpcPeeringConnection?.VpcPeeringConnectionId);
      await this.#wait("vpc-peering-connection-exists", { VpcPeeringConnectionIds: [id] });
      await driver.call("DeleteVpcPeeringConnection", { VpcPeeringConnectionId: id });
      await this.#wait("vpc-peering-connection-deleted", { VpcPeeringConnectionIds: [id] });
      await driver.call("DeleteVpc", { VpcId: PeerVpcId });
    };
    await Promise.all([translated(), tunnelled(), peered()]);
  }

  /** A disk's file in a bucket of the tenant's becomes a snapshot, and goes again. */
  async bring(): Promise<void> {
    if (!this.#o.connected) return;
    const { driver, tenant } = this.#o;
    const [S3Bucket, S3Key] = [`${tenant}-disks`, "disk.raw"];
    await driver.giveObject(S3Bucket, S3Key, new Uint8Array(1024 * 1024).fill(7));
    const { ImportTaskId } = await driver.call("ImportSnapshot", {
      DiskContainer: { Format: "RAW", UserBucket: { S3Bucket, S3Key } },
    });
    const ImportTaskIds = [idOf(ImportTaskId)];
    await this.#wait("snapshot-imported", { ImportTaskIds });
    const { ImportSnapshotTasks } = await driver.call("DescribeImportSnapshotTasks", {
      ImportTaskIds,
    });
    const SnapshotId = idOf(ImportSnapshotTasks?.[0]?.SnapshotTaskDetail?.SnapshotId);
    await driver.call("DeleteSnapshot", { SnapshotId });
    await driver.takeObject(S3Bucket, S3Key);
  }

  /** An instance with the interface, from a launch template. */
  async launch(): Promise<void> {
    const { driver, tenant, image, instanceType } = this.#o;
    const { LaunchTemplate } = await driver.call("CreateLaunchTemplate", {
      LaunchTemplateName: "story",
      LaunchTemplateData: {
        ImageId: image,
        InstanceType: instanceType as "t3.nano",
        KeyName: this.key,
        MetadataOptions: { HttpTokens: "required", InstanceMetadataTags: "enabled" },
      },
    });
    this.template = idOf(LaunchTemplate?.LaunchTemplateId);
    const { Instances } = await driver.call("RunInstances", {
      LaunchTemplate: { LaunchTemplateId: this.template },
      MinCount: 1,
      MaxCount: 1,
      NetworkInterfaces: [{ DeviceIndex: 0, NetworkInterfaceId: this.interface }],
      UserData: driver.userData(guestScript(tenant)),
      TagSpecifications: [{
        ResourceType: "instance",
        Tags: [{ Key: "Name", Value: tenant }],
      }],
    });
    this.instance = idOf(Instances?.[0]?.InstanceId);
    assert.equal(Instances?.[0]?.PrivateIpAddress, "10.77.1.77");
    assert.equal(Instances[0].SubnetId, this.subnet);
    const InstanceIds = [this.instance];
    await this.#wait("instance-exists", { InstanceIds });
    await this.#wait("instance-running", { InstanceIds });
    await this.#wait("instance-status-ok", { InstanceIds });
    await this.#wait("system-status-ok", { InstanceIds });
  }

  /** What the guest says on its console after `word`. */
  async #said(word: string): Promise<string> {
    let text = "";
    try {
      return await untilWorks(`${this.#o.tenant}'s guest to say "${word}"`, async () => {
        text = await this.#o.driver.console(this.instance);
        return new RegExp(`story: ${word} ([0-9a-f]{64})`).exec(text)?.[1];
      }, 900_000);
    } catch (error) {
      console.log(`the console of ${this.#o.tenant}'s guest ends with:\n${text.slice(-2_000)}`);
      throw error;
    }
  }

  async #attach(volume: string, device: string, tag: string): Promise<void> {
    const { driver } = this.#o;
    await this.#wait("volume-available", { VolumeIds: [volume] });
    await driver.call("AttachVolume", {
      VolumeId: volume,
      InstanceId: this.instance,
      Device: device,
    });
    await this.#wait("volume-in-use", { VolumeIds: [volume] });
    await driver.call("CreateTags", {
      Resources: [this.instance],
      Tags: [{ Key: tag, Value: volume }],
    });
  }

  /** The guest writes a volume, which is then its snapshot, and changes afterwards. */
  async save(): Promise<void> {
    const { driver, tenant, zone } = this.#o;
    const made = await driver.call("CreateVolume", {
      AvailabilityZone: zone,
      Size: 1,
      VolumeType: "gp3",
    });
    this.written = idOf(made.VolumeId);
    await this.#attach(this.written, "/dev/sdf", "write");
    assert.equal(await this.#said("wrote"), digestOf(tenant, "first"));
    const { SnapshotId } = await driver.call("CreateSnapshot", {
      VolumeId: this.written,
      Description: tenant,
    });
    this.snapshot = idOf(SnapshotId);
    await driver.call("CreateTags", {
      Resources: [this.instance],
      Tags: [{ Key: "overwrite", Value: "yes" }],
    });
    assert.equal(await this.#said("overwrote"), digestOf(tenant, "second"));
    await this.#wait("snapshot-completed", { SnapshotIds: [this.snapshot] });
  }

  /** A volume of the snapshot holds what the guest had written before it, byte for byte. */
  async restore(): Promise<void> {
    const { driver, tenant, zone } = this.#o;
    const made = await driver.call("CreateVolume", {
      AvailabilityZone: zone,
      SnapshotId: this.snapshot,
      VolumeType: "gp3",
    });
    assert.equal(made.Size, 1);
    this.restored = idOf(made.VolumeId);
    await this.#attach(this.restored, "/dev/sdg", "read");
    assert.equal(await this.#said("restored"), digestOf(tenant, "first"));
  }

  /** An image of the running instance. */
  async capture(): Promise<void> {
    const { driver, tenant } = this.#o;
    const { ImageId } = await driver.call("CreateImage", {
      InstanceId: this.instance,
      Name: `${tenant}'s image`,
      NoReboot: true,
    });
    this.image = idOf(ImageId);
    await this.#wait("image-exists", { ImageIds: [this.image] });
    await this.#wait("image-available", { ImageIds: [this.image] });
  }

  /** What the tenant sees of its own, in one text; times are as they are. */
  async seen(): Promise<string> {
    const { driver } = this.#o;
    const all = await Promise.all([
      driver.call("DescribeInstances", {}).then((one) => one.Reservations),
      driver.call("DescribeVolumes", {}).then((one) => one.Volumes),
      driver.call("DescribeSnapshots", { OwnerIds: ["self"] }).then((one) => one.Snapshots),
      driver.call("DescribeImages", { Owners: ["self"] }).then((one) => one.Images),
      driver.call("DescribeVpcs", {}).then((one) => one.Vpcs),
      driver.call("DescribeSubnets", {}).then((one) => one.Subnets),
      driver.call("DescribeSecurityGroups", {}).then((one) => one.SecurityGroups),
      driver.call("DescribeNetworkInterfaces", {}).then((one) => one.NetworkInterfaces),
      driver.call("DescribeRouteTables", {}).then((one) => one.RouteTables),
      driver.call("DescribeKeyPairs", {}).then((one) => one.KeyPairs),
    ]);
    return JSON.stringify(all);
  }

  /** Every id that is this tenant's alone. */
  get ids(): string[] {
    return [
      ...[this.vpc, this.subnet, this.gateway, this.routeTable, this.group, this.interface],
      ...[this.template, this.instance, this.written, this.snapshot, this.restored, this.image],
    ];
  }

  /** For this tenant nothing of the other's is there: not to see, not to use, not to delete. */
  async trespass(other: TenantStory): Promise<void> {
    const missing = {
      instance: "InvalidInstanceID.NotFound",
      volume: "InvalidVolume.NotFound",
      snapshot: "InvalidSnapshot.NotFound",
      subnet: "InvalidSubnetID.NotFound",
    };
    const { instance, volume, snapshot, subnet } = missing;
    const InstanceIds = [other.instance];
    const attempts: (() => Promise<void>)[] = [
      () => this.#refused(instance, "DescribeInstances", { InstanceIds }),
      () => this.#refused(instance, "TerminateInstances", { InstanceIds }),
      () =>
        this.#refused(instance, "StopInstances", { InstanceIds: [this.instance, ...InstanceIds] }),
      () => this.#refused(volume, "DescribeVolumes", { VolumeIds: [other.written] }),
      () => this.#refused(volume, "DetachVolume", { VolumeId: other.restored }),
      () =>
        this.#refused(volume, "AttachVolume", {
          VolumeId: other.written,
          InstanceId: this.instance,
          Device: "/dev/sdh",
        }),
      () => this.#refused(volume, "CreateSnapshot", { VolumeId: other.written }),
      () =>
        this.#refused(snapshot, "CreateVolume", {
          SnapshotId: other.snapshot,
          AvailabilityZone: this.#o.zone,
        }),
      () => this.#refused(snapshot, "DeleteSnapshot", { SnapshotId: other.snapshot }),
      () => this.#refused(/^InvalidAMIID\./, "DeregisterImage", { ImageId: other.image }),
      () => this.#refused("InvalidVpcID.NotFound", "DeleteVpc", { VpcId: other.vpc }),
      () => this.#refused(subnet, "DeleteSubnet", { SubnetId: other.subnet }),
      () => this.#refused(subnet, "CreateNetworkInterface", { SubnetId: other.subnet }),
      () =>
        this.#refused("InvalidGroup.NotFound", "AuthorizeSecurityGroupIngress", {
          GroupId: other.group,
          IpPermissions: [{ IpProtocol: "-1", IpRanges: [{ CidrIp: "0.0.0.0/0" }] }],
        }),
      () =>
        this.#refused(/\.NotFound$|^InvalidID$/, "CreateTags", {
          Resources: [other.vpc],
          Tags: [{ Key: "mine", Value: "now" }],
        }),
    ];
    // A few at a time: each is a process with the CLI.
    await Promise.all(Array.from({ length: 3 }, async () => {
      for (let next = attempts.shift(); next !== undefined; next = attempts.shift()) await next();
    }));
    const mine = await this.seen();
    for (const id of other.ids) assert.ok(!mine.includes(id), `${id} is seen by another tenant`);
    for (const id of [this.vpc, this.instance, this.restored, this.snapshot]) {
      assert.ok(mine.includes(id), `${id} is not seen by its owner`);
    }
  }

  /** What others stand on is not deleted. */
  async wrongOrder(): Promise<void> {
    await this.#refused("DependencyViolation", "DeleteVpc", { VpcId: this.vpc });
    await this.#refused("DependencyViolation", "DeleteSubnet", { SubnetId: this.subnet });
    await this.#refused("DependencyViolation", "DeleteSecurityGroup", { GroupId: this.group });
    await this.#refused("DependencyViolation", "DeleteRouteTable", {
      RouteTableId: this.routeTable,
    });
    await this.#refused("DependencyViolation", "DeleteInternetGateway", {
      InternetGatewayId: this.gateway,
    });
    await this.#refused("VolumeInUse", "DeleteVolume", { VolumeId: this.written });
  }

  /** Everything goes, in the order that dependencies demand. */
  async end(): Promise<void> {
    const { driver } = this.#o;
    const InstanceIds = [this.instance];
    const volumes = async () => {
      for (const VolumeId of [this.written, this.restored]) {
        await driver.call("DetachVolume", { VolumeId });
      }
      await this.#wait("volume-available", { VolumeIds: [this.written, this.restored] });
    };
    const captured = async () => {
      const { Images } = await driver.call("DescribeImages", { ImageIds: [this.image] });
      await driver.call("DeregisterImage", { ImageId: this.image });
      for (const { Ebs } of Images?.[0]?.BlockDeviceMappings ?? []) {
        await driver.call("DeleteSnapshot", { SnapshotId: idOf(Ebs?.SnapshotId) });
      }
      await driver.call("DeleteSnapshot", { SnapshotId: this.snapshot });
    };
    await Promise.all([volumes(), captured()]);
    await driver.call("StopInstances", { InstanceIds });
    await this.#wait("instance-stopped", { InstanceIds });
    await driver.call("TerminateInstances", { InstanceIds });
    await this.#wait("instance-terminated", { InstanceIds });
    const stored = async () => {
      for (const VolumeId of [this.written, this.restored]) {
        await driver.call("DeleteVolume", { VolumeId });
      }
      await this.#wait("volume-deleted", { VolumeIds: [this.written] });
      await this.#wait("volume-deleted", { VolumeIds: [this.restored] });
      await driver.call("DeleteLaunchTemplate", { LaunchTemplateId: this.template });
      await driver.call("DeleteKeyPair", { KeyName: this.key });
    };
    const routed = async () => {
      await driver.call("DeleteNetworkInterface", { NetworkInterfaceId: this.interface });
      await driver.call("DisassociateRouteTable", { AssociationId: this.association });
      await driver.call("DeleteRouteTable", { RouteTableId: this.routeTable });
      await driver.call("DetachInternetGateway", {
        InternetGatewayId: this.gateway,
        VpcId: this.vpc,
      });
      await driver.call("DeleteInternetGateway", { InternetGatewayId: this.gateway });
      await driver.call("DeleteSecurityGroup", { GroupId: this.group });
      await driver.call("DeleteSubnet", { SubnetId: this.subnet });
      await driver.call("DeleteVpc", { VpcId: this.vpc });
    };
    await Promise.all([stored(), routed()]);
    // A terminated instance is still shown for an hour, as in EC2, with the tags that it had.
    const [, ...others] = JSON.parse(await this.seen());
    const left = JSON.stringify(others);
    for (const id of this.ids) {
      const place = left.indexOf(id);
      assert.ok(
        id !== "" && place < 0,
        `${id} is still there: ${left.slice(Math.max(0, place - 200), place + 200)}`,
      );
    }
  }
}
