/**
 * DescribeRegions and DescribeAvailabilityZones: the one region and zone that the node was given
 * when it was made. The answers come from its configuration.
 */
import type { ActionTable } from "../resources/actions.ts";
import { invalidValue } from "../resources/errors.ts";
import { type Attributes, compileFilters } from "../resources/filters.ts";
import type { NodeConfig } from "../config/node_config.ts";
import { zoneId } from "../resources/zone_names.ts";

interface Region {
  readonly name: string;
  readonly endpoint: string;
}

interface Zone {
  readonly name: string;
  readonly id: string;
  readonly region: string;
}

const optIn = "opt-in-not-required";

const regionAttributes: Attributes<Region> = {
  "endpoint": (region) => region.endpoint,
  "opt-in-status": () => optIn,
  "region-name": (region) => region.name,
};

const zoneAttributes: Attributes<Zone> = {
  "group-long-name": (zone) => zone.region,
  "group-name": (zone) => zone.region,
  "message": () => undefined,
  "opt-in-status": () => optIn,
  "parent-zone-id": () => undefined,
  "parent-zone-name": () => undefined,
  "region-name": (zone) => zone.region,
  "state": () => "available",
  "zone-id": (zone) => zone.id,
  "zone-name": (zone) => zone.name,
  "zone-type": () => "availability-zone",
};

function chosen<T>(
  all: readonly T[],
  names: readonly string[] | undefined,
  nameOf: (one: T) => string,
  what: string,
): readonly T[] {
  if (names === undefined || names.length === 0) return all;
  const missing = names.filter((name) => !all.some((one) => nameOf(one) === name));
  if (missing.length > 0) throw invalidValue(`Invalid ${what}: [${missing.join(", ")}]`);
  return all.filter((one) => names.includes(nameOf(one)));
}

export function regionActions(config: Pick<NodeConfig, "region" | "az" | "bind" | "ports">) {
  const host = ["127.0.0.1", "0.0.0.0", "::", "::1"].includes(config.bind)
    ? "localhost"
    : config.bind;
  const regions: readonly Region[] = [
    { name: config.region, endpoint: `${host}:${config.ports.gateway}` },
  ];
  const zones: readonly Zone[] = [
    { name: config.az, id: zoneId(config.az), region: config.region },
  ];
  return {
    DescribeRegions: {
      run: (input) => {
        const matches = compileFilters(input.Filters, regionAttributes);
        return {
          Regions: chosen(regions, input.RegionNames, (region) => region.name, "region")
            .filter(matches).map((region) => ({
              RegionName: region.name,
              Endpoint: region.endpoint,
              OptInStatus: optIn,
            })),
        };
      },
    },

    DescribeAvailabilityZones: {
      run: (input) => {
        const matches = compileFilters(input.Filters, zoneAttributes);
        const named = chosen(zones, input.ZoneNames, (zone) => zone.name, "availability zone");
        const both = chosen(named, input.ZoneIds, (zone) => zone.id, "availability zone-id");
        return {
          AvailabilityZones: both.filter(matches).map((zone) => ({
            ZoneName: zone.name,
            ZoneId: zone.id,
            RegionName: zone.region,
            GroupName: zone.region,
            NetworkBorderGroup: zone.region,
            OptInStatus: optIn,
            State: "available",
            ZoneType: "availability-zone",
            Messages: [],
          })),
        };
      },
    },
  } satisfies ActionTable;
}
