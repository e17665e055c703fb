/**
 * The metadata of one instance as EC2 lays it out: a tree of names, every leaf a text made from the
 * instance's record. A directory lists its names, with a slash after those that are directories
 * again; that is how cloud-init walks it.
 *
 * Pure: the same record always gives the same tree.
 */
import type { InstanceRecord } from "../compute/contract.ts";
import type { Role } from "./role_credentials.ts";

/** A leaf is text, a directory a table; order is the order of the listing. */
export type Tree = { readonly [name: string]: string | Tree };

/** 172.31.0.0/20 and 172.31.0.0/16, as the network hands out. */
const subnetCidr = "172.31.0.0/20";
const vpcCidr = "172.31.0.0/16";

const present = (entries: Record<string, string | Tree | undefined>): Tree =>
  Object.fromEntries(
    Object.entries(entries).filter((entry): entry is [string, string | Tree] =>
      entry[1] !== undefined
    ),
  );

/** `apse2-az1` of `ap-southeast-2a`; other names keep their letters. */
function zoneIdOf(az: string): string {
  const match = /^([a-z]+)-([a-z]+)-(\d+)([a-z])$/.exec(az);
  if (match === null) return `${az}-az1`;
  const [, area = "", direction = "", number = "", letter = "a"] = match;
  const short = direction.replace(/north|south|east|west|central/g, (word) => word[0] ?? "");
  return `${area}${short}${number}-az${letter.charCodeAt(0) - 96}`;
}

/** Everything below `meta-data/`. */
export function metaData(instance: InstanceRecord, region: string, role?: Role): Tree {
  const { network, az } = instance;
  const tagsShown = instance.metadata_options.instance_metadata_tags === "enabled";
  return present({
    "ami-id": instance.image_id,
    "ami-launch-index": String(instance.launch_index),
    "ami-manifest-path": "(unknown)",
    "block-device-mapping": blockDevices(instance),
    "events": {
      "maintenance": { "history": "[]", "scheduled": "[]" },
      "recommendations": { "rebalance": "" },
    },
    "hostname": network.private_dns_name,
    "iam": identityAndAccess(instance, role),
    "instance-action": "none",
    "instance-id": instance.instance_id,
    "instance-life-cycle": "on-demand",
    "instance-type": instance.instance_type,
    "local-hostname": network.private_dns_name,
    "local-ipv4": network.private_ip,
    "mac": network.mac,
    "network": { "interfaces": { "macs": { [network.mac]: networkInterface(instance) } } },
    "placement": { "availability-zone": az, "availability-zone-id": zoneIdOf(az), region },
    "profile": "default-hvm",
    "public-keys": publicKeys(instance),
    "reservation-id": instance.reservation_id,
    "public-ipv4": network.interfaces?.[0]?.public_ip,
    "security-groups": network.interfaces?.[0]?.groups.map((one) => one.name).join("\n") ??
      "default",
    "services": { "domain": "amazonaws.com", "partition": "aws" },
    "system": "nitro",
    "tags": tagsShown ? { "instance": tagTree(instance.tags) } : undefined,
  });
}

/** Members and their order as EC2 has them: SDKs read this. */
function identityAndAccess(
  { iam_instance_profile: profile }: InstanceRecord,
  role: Role | undefined,
): Tree | undefined {
  if (profile === undefined) return undefined;
  const info = {
    Code: "Success",
    LastUpdated: profile.associated.replace(/\.\d+Z$/, "Z"),
    InstanceProfileArn: profile.arn,
    InstanceProfileId: profile.id,
  };
  const credentials = role === undefined ? undefined : {
    [role.role_name]: JSON.stringify(
      {
        Code: "Success",
        LastUpdated: role.updated,
        Type: "AWS-HMAC",
        AccessKeyId: role.access_key_id,
        SecretAccessKey: role.secret_access_key,
        Token: role.token,
        Expiration: role.expiration,
      },
      null,
      2,
    ),
  };
  return present({ "info": JSON.stringify(info, null, 2), "security-credentials": credentials });
}

function blockDevices(instance: InstanceRecord): Tree {
  const root = instance.root_device_name;
  const others = instance.attachments
    .filter((attachment) => attachment.device !== root)
    .map((attachment, index) => [`ebs${index + 1}`, attachment.device.replace(/^\/dev\//, "")]);
  return {
    "ami": root,
    ...Object.fromEntries(others),
    "root": root,
  };
}

function networkInterface({ network, account_id }: InstanceRecord): Tree {
  const [primary] = network.interfaces ?? [];
  const groups = primary?.groups ??
    [{ id: `sg-${network.vpc_id.slice("vpc-".length)}`, name: "default" }];
  return present({
    "device-number": "0",
    "interface-id": network.interface_id,
    "local-hostname": network.private_dns_name,
    "local-ipv4s": primary?.private_ips.join("\n") ?? network.private_ip,
    "mac": network.mac,
    "network-card": "0",
    "owner-id": account_id,
    "public-ipv4s": primary?.public_ip,
    "security-group-ids": groups.map((one) => one.id).join("\n"),
    "security-groups": groups.map((one) => one.name).join("\n"),
    "subnet-id": network.subnet_id,
    "subnet-ipv4-cidr-block": primary?.subnet_cidr ?? subnetCidr,
    "vpc-id": network.vpc_id,
    "vpc-ipv4-cidr-block": primary?.vpc_cidrs[0] ?? vpcCidr,
    "vpc-ipv4-cidr-blocks": primary?.vpc_cidrs.join("\n") ?? vpcCidr,
  });
}

function publicKeys({ key_name, public_key }: InstanceRecord): Tree | undefined {
  if (key_name === undefined || public_key === undefined) return undefined;
  return { "0": { "openssh-key": `${public_key.trim()}\n` } };
}

function tagTree(tags: Readonly<Record<string, string>>): Tree {
  // A key with a slash would be a path; AWS refuses to show such tags, and so do we.
  return Object.fromEntries(
    Object.keys(tags).sort().filter((key) => !/[/\s]/.test(key)).map((key) => [
      key,
      tags[key] ?? "",
    ]),
  );
}

/** The instance identity document, in the order of members that EC2 has. */
export function identityDocument(instance: InstanceRecord, region: string): string {
  return JSON.stringify(
    {
      accountId: instance.account_id,
      architecture: instance.architecture,
      availabilityZone: instance.az,
      billingProducts: null,
      devpayProductCodes: null,
      marketplaceProductCodes: null,
      imageId: instance.image_id,
      instanceId: instance.instance_id,
      instanceType: instance.instance_type,
      kernelId: null,
      pendingTime: instance.launch_time.replace(/\.\d+Z$/, "Z"),
      privateIp: instance.network.private_ip,
      ramdiskId: null,
      region,
      version: "2017-09-30",
    },
    null,
    2,
  );
}

export type Found =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "listing"; readonly names: readonly string[] }
  | undefined;

/** Walks a path; the empty path is the tree itself. */
export function lookup(tree: Tree, path: readonly string[]): Found {
  let here: string | Tree = tree;
  for (const name of path) {
    if (typeof here === "string" || !Object.hasOwn(here, name)) return undefined;
    here = here[name] ?? "";
  }
  if (typeof here === "string") return { kind: "text", text: here };
  return {
    kind: "listing",
    names: Object.entries(here).map(([name, below]) =>
      typeof below === "string" ? name : `${name}/`
    ),
  };
}
