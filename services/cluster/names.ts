/** The forms of what a seed and a claim may both name, and what a node can do for its cluster. */

/** What a node can do for the cluster. */
export const capabilities = ["ec2", "s3", "ebs", "nats", "vpc"] as const;
export type Capability = (typeof capabilities)[number];

export const defaultRegion = "ap-southeast-2";

const label = "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?";

export const hostname = {
  form: new RegExp(`^${label}(?:\\.${label})*$`),
  expected: "a host name of letters, digits and hyphens such as node1",
  longest: 64,
} as const;

export const region = {
  form: /^[a-z]{2,}(-[a-z]+)+-[0-9]$/,
  expected: "a region such as ap-southeast-2",
  longest: 40,
} as const;

export const zone = {
  form: /^[a-z]{2,}(-[a-z]+)+-[0-9][a-z]$/,
  expected: "a region and a letter such as ap-southeast-2a",
  longest: 41,
} as const;

/** What is wrong with a zone in a region, if anything. */
export function zoneTrouble(az: string, inRegion: string | undefined): string | undefined {
  if (az.slice(0, -1) === (inRegion ?? defaultRegion)) return undefined;
  return `"az" ${az} is no zone of the region ${inRegion ?? defaultRegion}; ` +
    (inRegion === undefined ? `give its "region" too.` : `mend one of them.`);
}
