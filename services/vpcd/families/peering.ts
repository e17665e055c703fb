/**
 * VPC peering connections. The requester's account owns the record; the accepter sees it and may
 * accept, reject or delete it.
 */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { overlaps } from "../../resources/addresses.ts";
import { invalidParameter, missingParameter } from "../../resources/errors.ts";
import type { Records } from "../../resources/records.ts";
import { checkId, notFound } from "../../resources/ids.ts";
import { peering, type PeeringRecord } from "../kinds/peering.ts";
import { blocksOf, vpc, type VpcRecord } from "../kinds/vpcs.ts";
import type { Network } from "../network.ts";

const status = (
  Code: "pending-acceptance" | "active" | "rejected" | "deleted" | "expired" | "failed",
  Message: string,
) => ({
  Status: { Code, Message },
});

const options = {
  AllowDnsResolutionFromRemoteVpc: false,
  AllowEgressFromLocalClassicLinkToRemoteVpc: false,
  AllowEgressFromLocalVpcToRemoteClassicLink: false,
};

export const peeringActions = ({ operations: n, records, region }: Network) => {
  const ends = (of: VpcRecord) => ({
    CidrBlock: of.shape.CidrBlock,
    CidrBlockSet: (of.shape.CidrBlockAssociationSet ?? []).map((one) => ({
      CidrBlock: one.CidrBlock,
    })),
    OwnerId: of.account_id,
    PeeringOptions: options,
    Region: region,
    VpcId: of.id,
  });
  const required = (id: string, call: Call) => requirePeering(records, call.account_id, id);
  const ownerOf = (id: string | undefined, call: Call) => required(id ?? "", call).account_id;
  const accepting = (id: string, call: Call): PeeringRecord => {
    const record = required(id, call);
    if (record.shape.AccepterVpcInfo?.OwnerId !== call.account_id) {
      throw new AwsError(
        "OperationNotPermitted",
        `User ${call.account_id} cannot accept peering ${id}`,
      );
    }
    requirePending(record);
    return record;
  };
  return {
    CreateVpcPeeringConnection: n.creates(peering, {
      answer: "VpcPeeringConnection",
      without: ["VpcId", "PeerVpcId", "PeerOwnerId", "PeerRegion"],
      make: async (input, call) => {
        const mine = await records.require(vpc, call.account_id, input.VpcId);
        if (input.PeerVpcId === undefined) throw missingParameter("peerVpcId");
        if ((input.PeerRegion ?? region) !== region) {
          throw invalidParameter(
            "peerRegion",
            input.PeerRegion,
            `There is the region ${region} only.`,
          );
        }
        const owner = input.PeerOwnerId ?? call.account_id;
        const theirs = owner === call.account_id
          ? await records.require(vpc, call.account_id, input.PeerVpcId)
          : records.get(vpc, owner, input.PeerVpcId);
        if (theirs?.id === mine.id) {
          throw invalidParameter("peerVpcId", mine.id, "A VPC cannot be peered with itself.");
        }
        const clash = theirs !== undefined &&
          blocksOf(mine).some((one) => blocksOf(theirs).some((other) => overlaps(one, other)));
        // As EC2 does: what cannot come about is recorded as failed, and says not why to a stranger.
        const failed = theirs === undefined || clash;
        return {
          RequesterVpcInfo: ends(mine),
          // Its blocks are nobody's to know before it accepts.
          AccepterVpcInfo: { OwnerId: owner, VpcId: input.PeerVpcId, Region: region },
          ExpirationTime: new Date(Date.now() + 7 * 86_400_000).toISOString(),
          ...(failed
            ? status(
              "failed",
              `Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range`,
            )
            : status("pending-acceptance", `Pending Acceptance by ${owner}`)),
        };
      },
    }),
    DescribeVpcPeeringConnections: n.describes(peering, {
      list: "VpcPeeringConnections",
      ids: "VpcPeeringConnectionIds",
    }),
    AcceptVpcPeeringConnection: n.custom({
      changesOf: (input, call) => ownerOf(input.VpcPeeringConnectionId, call),
      check: async (input, call) => {
        const { shape } = accepting(input.VpcPeeringConnectionId ?? "", call);
        await records.require(vpc, call.account_id, shape.AccepterVpcInfo?.VpcId ?? "");
      },
      run: async (input, call) => {
        const { account_id, id, shape } = accepting(input.VpcPeeringConnectionId ?? "", call);
        const theirs = shape.AccepterVpcInfo?.VpcId ?? "";
        const mine = await records.require(vpc, call.account_id, theirs);
        const record = await records.change(peering, account_id, id, (now) => {
          requirePending(now);
          return { AccepterVpcInfo: ends(mine), ...status("active", "Active") };
        });
        return { VpcPeeringConnection: records.show(peering, record) };
      },
    }),
    RejectVpcPeeringConnection: n.custom({
      changesOf: (input, call) => ownerOf(input.VpcPeeringConnectionId, call),
      check: (input, call) => void accepting(input.VpcPeeringConnectionId, call),
      run: async (input, call) => {
        const { account_id, id } = accepting(input.VpcPeeringConnectionId, call);
        const last = status("rejected", "Inactive");
        await records.remove(peering, account_id, id, last, requirePending);
        return { Return: true };
      },
    }),
    DeleteVpcPeeringConnection: n.custom({
      changesOf: (input, call) => ownerOf(input.VpcPeeringConnectionId, call),
      check: (input, call) => void required(input.VpcPeeringConnectionId, call),
      run: async (input, call) => {
        const { account_id, id } = required(input.VpcPeeringConnectionId, call);
        await records.remove(
          peering,
          account_id,
          id,
          status("deleted", `Deleted by ${call.account_id}`),
        );
        return { Return: true };
      },
    }),
    ModifyVpcPeeringConnectionOptions: n.custom({
      changesOf: (input, call) => ownerOf(input.VpcPeeringConnectionId, call),
      check: (input, call) => {
        const { id, shape } = required(input.VpcPeeringConnectionId, call);
        if (shape.Status?.Code !== "active") {
          throw new AwsError("OperationNotPermitted", `${id} is not active.`);
        }
        for (
          const [side, wanted] of [
            [shape.RequesterVpcInfo, input.RequesterPeeringConnectionOptions],
            [shape.AccepterVpcInfo, input.AccepterPeeringConnectionOptions],
          ] as const
        ) {
          if (wanted === undefined || side?.OwnerId === call.account_id) continue;
          throw new AwsError(
            "OperationNotPermitted",
            `User ${call.account_id} cannot modify the peering options of ${side?.OwnerId} in ${id}`,
          );
        }
      },
      run: async (input, call) => {
        const { account_id, id } = required(input.VpcPeeringConnectionId, call);
        const record = await records.change(peering, account_id, id, ({ shape }) => ({
          RequesterVpcInfo: {
            ...shape.RequesterVpcInfo,
            PeeringOptions: {
              ...shape.RequesterVpcInfo?.PeeringOptions,
              ...input.RequesterPeeringConnectionOptions,
            },
          },
          AccepterVpcInfo: {
            ...shape.AccepterVpcInfo,
            PeeringOptions: {
              ...shape.AccepterVpcInfo?.PeeringOptions,
              ...input.AccepterPeeringConnectionOptions,
            },
          },
        }));
        return {
          RequesterPeeringConnectionOptions: record.shape.RequesterVpcInfo?.PeeringOptions,
          AccepterPeeringConnectionOptions: record.shape.AccepterVpcInfo?.PeeringOptions,
        };
      },
    }),
  } satisfies ActionTable;
};

/** Whether a request was left unanswered for too long. */
const isExpired = ({ shape }: PeeringRecord) =>
  shape.Status?.Code === "pending-acceptance" && shape.ExpirationTime !== undefined &&
  Date.parse(String(shape.ExpirationTime)) <= Date.now();

/** @throws AwsError `InvalidStateTransition` unless it is still to be answered: decided on the record that is changed */
function requirePending(record: PeeringRecord): void {
  const code = isExpired(record) ? "expired" : record.shape.Status?.Code;
  if (code === "pending-acceptance") return;
  throw new AwsError(
    "InvalidStateTransition",
    `${record.id} is ${code} and not pending acceptance.`,
  );
}

/** What was answered in the last moment on another node is no longer to expire. */
function requireExpired(record: PeeringRecord): void {
  if (isExpired(record)) return;
  throw new AwsError("InvalidStateTransition", `${record.id} has not expired.`);
}

/** Ends what nobody has answered for a week; both sides see for a while that it has expired. */
export async function expirePeerings(records: Records): Promise<void> {
  const last = status("expired", "Expired");
  for (const { account_id, id } of [...records.all(peering)].filter(isExpired)) {
    try {
      await records.serialised(
        account_id,
        () => records.remove(peering, account_id, id, last, requireExpired),
      );
    } catch (error) {
      // Its end or its answer came first.
      if (!(error instanceof AwsError) || error.status >= 500) throw error;
    }
  }
}

/** The connection as either side sees it. @throws AwsError where there is none */
export function requirePeering(records: Records, account: string, id: string): PeeringRecord {
  checkId(peering.idPrefix, id, peering.errors);
  const record = records.visible(peering, account, id);
  if (record === undefined) throw notFound([id], peering.errors);
  return record;
}

/** The connection of the two VPCs that one of the accounts has asked for. */
export function peeringBetween(
  records: Records,
  accounts: readonly string[],
  one: string | undefined,
  other: string | undefined,
): PeeringRecord | undefined {
  if (one === undefined || other === undefined) return undefined;
  return accounts.flatMap((account) => records.find(peering, account, one))
    .find(({ shape }) => {
      const ends = [shape.RequesterVpcInfo?.VpcId, shape.AccepterVpcInfo?.VpcId];
      return ends.includes(one) && ends.includes(other);
    });
}
