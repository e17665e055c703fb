/** Names of zones: EC2 has a name (`ap-southeast-2a`) and an id (`apse2-az1`) for each. */

const directions: Readonly<Record<string, string>> = {
  north: "n",
  south: "s",
  east: "e",
  west: "w",
  central: "c",
  northeast: "ne",
  northwest: "nw",
  southeast: "se",
  southwest: "sw",
};

/** `ap-southeast-2a` is `apse2-az1`; a name of another form keeps its own letters. */
export function zoneId(az: string): string {
  const match = /^([a-z]+(?:-gov|-iso[a-z]?)?)-([a-z]+)-(\d+)([a-z])$/.exec(az);
  if (match === null) return `${az}-az1`;
  const [, area = "", direction = "", number = "", letter = "a"] = match;
  const zone = letter.charCodeAt(0) - 96;
  return `${area.replace("-", "")}${directions[direction] ?? direction}${number}-az${zone}`;
}
