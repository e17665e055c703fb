/** A VPC with one subnet, on which most of these tests stand. */
import type { Caller } from "../kit/ec2_scenario.ts";

export const filter = (Name: string, ...Values: string[]) => [{ Name, Values }];

/** 10.5.0.0/16 with 10.5.0.0/24. */
export async function oneNetwork(
  { call }: Caller,
): Promise<{ readonly VpcId: string; readonly SubnetId: string }> {
  const { Vpc: vpc } = await call("CreateVpc", { CidrBlock: "10.5.0.0/16" });
  const VpcId = vpc?.VpcId ?? "";
  const { Subnet: subnet } = await call("CreateSubnet", { VpcId, CidrBlock: "10.5.0.0/24" });
  return { VpcId, SubnetId: subnet?.SubnetId ?? "" };
}
