/**
 * What compute asks for its instances: interfaces that come and go with them. Ids follow from the
 * instance's, so that a launch that is repeated after a crash finds what it has made.
 */
import { AwsError } from "../../aws/errors.ts";
import type { Bus } from "../../bus/bus.ts";
import { contains, parseBlock } from "../../resources/addresses.ts";
import { idOf } from "../../resources/ids.ts";
import type { KindRecord } from "../../resources/kind.ts";
import type { Records } from "../../resources/records.ts";
import {
  claimInterfaces,
  type ClaimRequest,
  defaultNetwork,
  type InstanceInterface,
  instanceInterfaces,
  interfacesChanged,
  type InterfaceWish,
  modifyInterface,
  portIsOpen,
  releaseInterfaces,
  sweepInterfaces,
} from "../contract.ts";
import type { Defaults } from "../defaults.ts";
import { leadingTo, letGo } from "./address_associations.ts";
import { freeAddresses } from "./interface_addresses.ts";
import { interfaceAttachment, ofInstance, showInterface } from "./interfaces.ts";
import { checkGroups, groupsOf, interfaceShape, type NewInterface } from "./new_interfaces.ts";
import { type InterfaceRecord, networkInterface } from "../kinds/interfaces.ts";
import { rulesOf } from "../kinds/security_group_rules.ts";
import { securityGroup } from "../kinds/security_groups.ts";
import { subnet, type SubnetRecord } from "../kinds/subnets.ts";
import { defaultVpcOf, vpc } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";

const claimGrace_ms = 10 * 60_000;

export function answerCompute(bus: Bus, network: Network, defaults: Defaults): void {
  const { records } = network;
  bus.answer(claimInterfaces, async (request) => {
    await defaults.ready(request.account_id);
    return await records.serialised(request.account_id, () => claim(network, request));
  });
  bus.answer(releaseInterfaces, async ({ account_id, instance_id }) => {
    await records.serialised(account_id, () => release(network, account_id, instance_id));
    return null;
  });
  bus.answer(
    instanceInterfaces,
    ({ account_id, instance_id }) =>
      interfacesOf(network, account_id, instance_id).map((one) => showForInstance(network, one)),
  );
  bus.answer(modifyInterface, async ({ account_id, instance_id, group_ids, source_dest_check }) => {
    await records.serialised(account_id, async () => {
      const [primary] = interfacesOf(network, account_id, instance_id);
      if (primary === undefined) {
        throw new AwsError(
          "InvalidInstanceID.NotFound",
          `The instance ID '${instance_id}' does not exist`,
        );
      }
      await checkGroups(records, account_id, primary.shape.VpcId, group_ids ?? []);
      await records.change(networkInterface, account_id, primary.id, () => ({
        ...(group_ids === undefined ? {} : { Groups: groupsOf(group_ids) }),
        ...(source_dest_check === undefined ? {} : { SourceDestCheck: source_dest_check }),
      }));
    });
    return null;
  });
  bus.answer(defaultNetwork, async ({ account_id }) => {
    await defaults.ready(account_id);
    const of = defaultVpcOf(records, account_id);
    return of === undefined ? {} : { vpc_id: of.id };
  });
  bus.answer(sweepInterfaces, () => {
    const held = new Map<string, { account_id: string; instance_id: string }>();
    for (const { account_id, shape: { Attachment: attachment } } of records.all(networkInterface)) {
      const instance_id = attachment?.InstanceId;
      if (instance_id === undefined) continue;
      // A launch claims before it has a record.
      if (Date.now() - Date.parse(attachment?.AttachTime ?? "") < claimGrace_ms) continue;
      held.set(instance_id, { account_id, instance_id });
    }
    return [...held.values()];
  });
  bus.answer(portIsOpen, ({ account_id, group_ids, port }) => ({
    open: group_ids.some((id) =>
      rulesOf(records, { account_id, id }).some(({ shape: rule }) =>
        rule.IsEgress === false &&
        (rule.IpProtocol === "-1" ||
          (rule.IpProtocol === "tcp" && (rule.FromPort ?? 0) <= port &&
            port <= (rule.ToPort ?? 0))) &&
        // A peer that is a group of guests says nothing of the operator's own machine.
        (rule.CidrIpv4 !== undefined || rule.CidrIpv6 !== undefined ||
          rule.PrefixListId !== undefined)
      )
    ),
  }));
  tellOfChanges(bus, records);
}

/** Says which instance's interfaces have changed; one that goes is told of as one that comes. */
function tellOfChanges(bus: Bus, records: Records): void {
  const instanceOf = (record: KindRecord<unknown> | undefined) =>
    (record?.shape as InterfaceRecord["shape"] | undefined)?.Attachment?.InstanceId;
  const holders = new Map<string, string>();
  for (const { key, value } of records.table.rows()) {
    const instance = instanceOf(value);
    if (instance !== undefined) holders.set(key, instance);
  }
  records.table.watch(({ key, row }) => {
    const before = holders.get(key);
    const now = instanceOf(row?.value);
    if (now === undefined) holders.delete(key);
    else holders.set(key, now);
    const account_id = key.slice(0, key.indexOf("."));
    for (const instance_id of new Set([before, now])) {
      if (instance_id !== undefined) bus.say(interfacesChanged, { account_id, instance_id });
    }
  });
}

function interfacesOf(
  { records }: Network,
  account: string,
  instanceId: string,
): InterfaceRecord[] {
  return ofInstance(records, account, instanceId).sort((a, b) =>
    (a.shape.Attachment?.DeviceIndex ?? 0) - (b.shape.Attachment?.DeviceIndex ?? 0)
  );
}

/** What a launch without words gets. @throws AwsError where there is no default VPC or subnet */
async function subnetOf(network: Network, account: string, id: string | undefined) {
  const { records, az } = network;
  if (id !== undefined && id !== "") return await records.require(subnet, account, id);
  const of = defaultVpcOf(records, account);
  if (of === undefined) {
    throw new AwsError(
      "VPCIdNotSpecified",
      "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
    );
  }
  const found = records.find(subnet, account, of.id).find((one) => one.shape.DefaultForAz === true);
  if (found === undefined) {
    throw new AwsError("MissingInput", `No subnets found for the default VPC '${of.id}' in ${az}.`);
  }
  return found;
}

async function readWish(
  network: Network,
  account: string,
  wish: InterfaceWish,
): Promise<NewInterface> {
  const { records } = network;
  const of: SubnetRecord = await subnetOf(network, account, wish.subnet_id);
  const named = (wish.group_names ?? []).map((name) => {
    const found = records.find(securityGroup, account, name).find((one) =>
      one.shape.GroupName === name && one.shape.VpcId === of.shape.VpcId
    );
    if (found === undefined) {
      throw new AwsError(
        "InvalidGroup.NotFound",
        `The security group '${name}' does not exist in VPC '${of.shape.VpcId}'`,
      );
    }
    return found.id;
  });
  const groups = [...wish.group_ids ?? [], ...named];
  await checkGroups(records, account, of.shape.VpcId, groups);
  return {
    subnet: of,
    groups,
    description: wish.description ?? "",
    primary: wish.private_ip,
    secondary: wish.secondary_ips ?? [],
    secondaryCount: wish.secondary_count ?? 0,
  };
}

/** One interface that a claim brings: an existing one, or one to be made. */
type Plan =
  & { readonly wish: InterfaceWish }
  & ({ readonly existing: InterfaceRecord } | { readonly wanted: NewInterface });

async function planOf(network: Network, account: string, wish: InterfaceWish): Promise<Plan> {
  if (wish.interface_id === undefined) {
    return { wish, wanted: await readWish(network, account, wish) };
  }
  const existing = await network.records.require(networkInterface, account, wish.interface_id);
  if (existing.shape.Status === "in-use") {
    throw new AwsError("InvalidNetworkInterface.InUse", `Interface: [${existing.id}] in use.`);
  }
  return { wish, existing };
}

/** A claim that was cut off left some of the interfaces: those stay, and the others come to them. */
async function claim(
  network: Network,
  request: ClaimRequest,
): Promise<readonly InstanceInterface[]> {
  const { records } = network;
  const { account_id: account, instance_id, wishes } = request;
  if (new Set(wishes.map((wish) => wish.device_index)).size < wishes.length) {
    throw new AwsError(
      "InvalidParameterValue",
      "Each network interface requires a unique device index.",
    );
  }
  const present = new Set(
    interfacesOf(network, account, instance_id).map((one) => one.shape.Attachment?.DeviceIndex),
  );
  const plans: Plan[] = [];
  for (const wish of wishes) {
    if (!present.has(wish.device_index)) plans.push(await planOf(network, account, wish));
  }
  // Whether the addresses may be had is decided before any interface is made.
  for (const plan of plans) {
    if (!("wanted" in plan)) continue;
    interfaceShape(network, plan.wanted);
    if ((request.count ?? 1) > 1) freeAddresses(records, plan.wanted.subnet, request.count ?? 1);
  }
  if (request.check_only === true) return [];
  for (const plan of plans) await carryOut(network, account, instance_id, plan);
  return interfacesOf(network, account, instance_id).map((one) => showForInstance(network, one));
}

async function carryOut(
  network: Network,
  account: string,
  instance_id: string,
  plan: Plan,
): Promise<void> {
  const { records } = network;
  const { device_index, delete_on_termination, tags } = plan.wish;
  const attached = {
    Attachment: interfaceAttachment(instance_id, account, device_index, delete_on_termination),
    Status: "in-use" as const,
  };
  if ("existing" in plan) {
    await records.change(networkInterface, account, plan.existing.id, () => attached);
    return;
  }
  const shape = interfaceShape(network, plan.wanted);
  const primary = device_index === 0;
  await records.create(networkInterface, account, {
    ...shape,
    ...attached,
    MacAddress: primary ? macOf(instance_id) : shape.MacAddress,
  }, {
    id: primary
      ? await idOf("eni-", instance_id)
      : await idOf("eni-", instance_id, String(device_index)),
    tags: tags ?? {},
  });
}

/** As compute made them before it asked: an instance keeps its hardware address for life. */
function macOf(instanceId: string): string {
  const digits = instanceId.replace(/^i-/, "").padStart(10, "0").slice(0, 10);
  return `06:${digits.match(/../g)?.join(":")}`;
}

async function release({ records }: Network, account: string, instanceId: string): Promise<void> {
  for (const one of ofInstance(records, account, instanceId)) {
    const stays = one.shape.Attachment?.DeleteOnTermination !== true;
    if (stays) {
      await records.change(networkInterface, account, one.id, () => ({
        Attachment: undefined,
        Status: "available",
      }));
    } else {
      for (const address of leadingTo(records, account, one.id)) await letGo(records, address);
      await records.remove(networkInterface, account, one.id);
    }
  }
}

function showForInstance({ records }: Network, record: InterfaceRecord): InstanceInterface {
  const { shape } = record;
  const of = records.get(subnet, record.account_id, shape.SubnetId ?? "");
  const home = records.get(vpc, record.account_id, shape.VpcId ?? "");
  const blocks = (home?.shape.CidrBlockAssociationSet ?? []).flatMap((one) => one.CidrBlock ?? []);
  const own = parseBlock(of?.shape.CidrBlock ?? "");
  const first = blocks.filter((text) => {
    const block = parseBlock(text);
    return block !== undefined && own !== undefined && contains(block, own);
  });
  const public_ip = shape.Association?.PublicIp;
  return {
    interface_id: record.id,
    attachment_id: shape.Attachment?.AttachmentId ?? "",
    device_index: shape.Attachment?.DeviceIndex ?? 0,
    delete_on_termination: shape.Attachment?.DeleteOnTermination ?? false,
    subnet_id: shape.SubnetId ?? "",
    subnet_cidr: of?.shape.CidrBlock ?? "",
    vpc_id: shape.VpcId ?? "",
    vpc_cidrs: [...first, ...blocks.filter((one) => !first.includes(one))],
    mac: shape.MacAddress ?? "",
    private_ip: shape.PrivateIpAddress ?? "",
    private_ips: (shape.PrivateIpAddresses ?? []).flatMap((one) => one.PrivateIpAddress ?? []),
    private_dns_name: shape.PrivateDnsName ?? "",
    groups: showInterface(records, record).Groups.map((one) => ({
      id: one.GroupId ?? "",
      name: one.GroupName,
    })),
    ...(public_ip === undefined ? {} : { public_ip }),
    description: shape.Description ?? "",
    source_dest_check: shape.SourceDestCheck ?? true,
  };
}
