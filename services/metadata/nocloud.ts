/**
 * The four files of cloud-init's NoCloud datasource. All of them exist always: cloud-init asks for a
 * file that is missing once a second for ten seconds.
 */
import type { InstanceRecord } from "../compute/contract.ts";

/** @returns undefined for a name that NoCloud does not have */
export function noCloudFile(
  instance: InstanceRecord,
  name: string,
): Uint8Array<ArrayBuffer> | string | undefined {
  switch (name) {
    case "meta-data":
      // JSON is YAML, and needs no quoting rules of its own.
      return JSON.stringify({
        "instance-id": instance.instance_id,
        "local-hostname": instance.network.private_dns_name,
        ...(instance.public_key === undefined
          ? {}
          : { "public-keys": [instance.public_key.trim()] }),
      });
    case "user-data":
      return instance.user_data === undefined ? "" : Uint8Array.fromBase64(instance.user_data);
    case "vendor-data":
      return "";
    case "network-config":
      return JSON.stringify({
        version: 2,
        ethernets: {
          primary: { match: { macaddress: instance.network.mac }, dhcp4: true },
        },
      });
    default:
      return undefined;
  }
}
