/** Who else may attach a network interface. */
import type { ActionTable } from "../../resources/actions.ts";
import { invalidParameter } from "../../resources/errors.ts";
import { permission } from "../kinds/interfaces.ts";
import { exactlyOne, type Network, oneOf } from "../network.ts";

export const interfacePermissionActions = ({ operations: n }: Network) => {
  return {
    CreateNetworkInterfacePermission: n.creates(permission, {
      answer: "InterfacePermission",
      make: (input) => {
        exactlyOne(input, ["AwsAccountId", "AwsService"]);
        if (input.AwsAccountId !== undefined && !/^\d{12}$/.test(input.AwsAccountId)) {
          throw invalidParameter("awsAccountId", input.AwsAccountId, "Expected an account id.");
        }
        oneOf(
          input.Permission,
          ["INSTANCE-ATTACH", "EIP-ASSOCIATE"],
          "permission",
          "INSTANCE-ATTACH",
        );
        return { PermissionState: { State: "granted" } };
      },
    }),
    DescribeNetworkInterfacePermissions: n.describes(permission, {
      list: "NetworkInterfacePermissions",
      ids: "NetworkInterfacePermissionIds",
    }),
    DeleteNetworkInterfacePermission: n.deletes(permission, { id: "NetworkInterfacePermissionId" }),
  } satisfies ActionTable;
};
