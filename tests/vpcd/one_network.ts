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

/** The same with a /56 of IPv6 and its first /64. @param CidrBlock the subnet's */
export async function dualNetwork(
  { call }: Caller,
  CidrBlock: string,
): Promise<{ readonly VpcId: string; readonly SubnetId: string; readonly six: string }> {
  const { Vpc: vpc } = await call("CreateVpc", {
    CidrBlock: "10.5.0.0/16",
    AmazonProvidedIpv6CidrBlock: true,
  });
  const VpcId = vpc?.VpcId ?? "";
  const [block] = vpc?.Ipv6CidrBlockAssociationSet ?? [];
  const six = block?.Ipv6CidrBlock?.replace("/56", "/64") ?? "";
  const { Subnet: subnet } = await call("CreateSubnet", { VpcId, CidrBlock, Ipv6CidrBlock: six });
  return { VpcId, SubnetId: subnet?.SubnetId ?? "", six };
}
