/** What an endpoint service's owner sees and decides of the endpoints that lead to it, and is told of. */
import { AwsError } from "../../aws/errors.ts";
import type { ActionTable, Call } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { compileFilters } from "../../resources/filters.ts";
import { pageOf } from "../../resources/paging.ts";
import type { Ec2, Shape } from "../../resources/wire.ts";
import {
  endpoint,
  type EndpointRecord,
  endpointService,
  notification,
  type ServiceRecord,
  shownState,
} from "../kinds/endpoints.ts";
import { exactlyOne, type Network, pick, unsuccessful } from "../network.ts";

const events = ["Accept", "Connect", "Delete", "Reject"];

function checkNotification(arn: string, chosen: readonly string[]): void {
  if (!/^arn:aws:sns:[\w-]+:\d{12}:[\w-]{1,256}$/.test(arn)) {
    throw invalidParameter("connectionNotificationArn", arn, "Expected the ARN of a topic.");
  }
  const wrong = chosen.find((one) => !events.includes(one));
  if (wrong !== undefined || chosen.length === 0) {
    throw invalidParameter("connectionEvents", wrong, `Expected some of ${events.join(", ")}.`);
  }
}

export const endpointConnectionActions = ({ operations: n, records, region }: Network) => {
  function serviceOf(record: EndpointRecord): ServiceRecord | undefined {
    return records.findAnywhere(endpointService, record.shape.ServiceName ?? "")[0];
  }
  const connectionsOf = (account: string): EndpointRecord[] =>
    [...records.all(endpointService, account)].flatMap((service) =>
      records.findAnywhere(endpoint, service.shape.ServiceName ?? "")
    );
  /** Accepts or rejects connections to a service of the caller's. */
  const decideOn = async (
    input: { readonly ServiceId: string; readonly VpcEndpointIds: readonly string[] },
    call: Call,
    State: string,
  ) => {
    const service = await records.require(endpointService, call.account_id, input.ServiceId);
    const waiting = records.findAnywhere(endpoint, service.shape.ServiceName ?? "");
    return await unsuccessful(input.VpcEndpointIds, async (id) => {
      const found = waiting.find((one) => one.id === id);
      if (found === undefined) {
        throw new AwsError(
          "InvalidVpcEndpointId.NotFound",
          `The Vpc Endpoint Id '${id}' does not exist`,
        );
      }
      // The endpoint is another account's, whose own changes are not waited for.
      await records.change(endpoint, found.account_id, id, ({ shape }) => {
        if (shape.State === "PendingAcceptance") return { State };
        throw new AwsError("InvalidState", `The endpoint '${id}' is ${shownState(found)}.`);
      });
    });
  };
  const requireService = async (input: { readonly ServiceId: string }, call: Call) => {
    await records.require(endpointService, call.account_id, input.ServiceId);
  };
  return {
    DescribeVpcEndpointConnections: n.custom({
      reads: true,
      run: (input, call) => {
        const matches = compileFilters<EndpointRecord>(input.Filters, {
          "ip-address-type": (one) => one.shape.IpAddressType,
          "service-id": (one) => serviceOf(one)?.id,
          "vpc-endpoint-id": (one) => one.id,
          "vpc-endpoint-owner": (one) => one.account_id,
          "vpc-endpoint-state": shownState,
        });
        const found = connectionsOf(call.account_id).filter(matches);
        const page = pageOf(found, (one) => one.id, {
          action: "DescribeVpcEndpointConnections",
          input,
          call,
        });
        return {
          VpcEndpointConnections: page.items.map((one) => ({
            CreationTimestamp: one.created,
            DnsEntries: one.shape.DnsEntries,
            IpAddressType: one.shape.IpAddressType,
            NetworkLoadBalancerArns: serviceOf(one)?.shape.NetworkLoadBalancerArns,
            ServiceId: serviceOf(one)?.id,
            VpcEndpointConnectionId: one.id.replace("vpce-", "vpce-con-"),
            VpcEndpointId: one.id,
            VpcEndpointOwner: one.account_id,
            VpcEndpointRegion: region,
            VpcEndpointState: shownState(one),
          })),
          NextToken: page.nextToken,
        };
      },
    }),
    AcceptVpcEndpointConnections: n.custom({
      check: requireService,
      run: (input, call) => decideOn(input, call, "Pending"),
    }),
    RejectVpcEndpointConnections: n.custom({
      check: requireService,
      run: (input, call) => decideOn(input, call, "Rejected"),
    }),

    CreateVpcEndpointConnectionNotification: n.creates(notification, {
      make: (input) => {
        exactlyOne(input, ["ServiceId", "VpcEndpointId"]);
        checkNotification(input.ConnectionNotificationArn, input.ConnectionEvents);
        return {
          ConnectionNotificationState: "Enabled",
          ConnectionNotificationType: "Topic",
          ServiceRegion: region,
        };
      },
      answer: (record, input) => ({
        ConnectionNotification: records.show(notification, record),
        ...(input.ClientToken === undefined ? {} : { ClientToken: input.ClientToken }),
      }),
    }),
    DescribeVpcEndpointConnectionNotifications: n.describes(notification, {
      list: "ConnectionNotificationSet",
      where: (input) => (record) =>
        input.ConnectionNotificationId === undefined ||
        record.id === input.ConnectionNotificationId,
      before: async (input, call) => {
        if (input.ConnectionNotificationId === undefined) return;
        await records.require(notification, call.account_id, input.ConnectionNotificationId);
      },
    }),
    ModifyVpcEndpointConnectionNotification: n.changes(notification, {
      id: "ConnectionNotificationId",
      change: (record, input) => {
        checkNotification(
          input.ConnectionNotificationArn ?? record.shape.ConnectionNotificationArn ?? "",
          input.ConnectionEvents ?? record.shape.ConnectionEvents ?? [],
        );
        return { ...pick(input, ["ConnectionNotificationArn", "ConnectionEvents"]) } as Partial<
          Shape<Ec2.ConnectionNotification>
        >;
      },
      answer: () => ({ ReturnValue: true }),
    }),
    DeleteVpcEndpointConnectionNotifications: n.custom({
      run: (input, call) =>
        unsuccessful(input.ConnectionNotificationIds, async (id) => {
          await records.require(notification, call.account_id, id);
          await records.remove(notification, call.account_id, id);
        }),
    }),
  } satisfies ActionTable;
};
