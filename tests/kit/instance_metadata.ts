/**
 * Instance metadata for tests of guest images alone, where no stack runs: IMDSv2 on a Unix socket,
 * with the paths that cloud-init and the tiny guest ask for. It refuses what a real one refuses: a
 * request without a session token.
 */

export interface InstanceMetadata extends AsyncDisposable {
  readonly socket: string;
  /** `METHOD path` of each request, in order. */
  readonly requests: readonly string[];
}

export function serveInstanceMetadata(socket: string, instance: {
  readonly instance_id: string;
  readonly public_key: string;
  readonly private_ip: string;
  readonly mac: string;
  readonly user_data?: string;
}): InstanceMetadata {
  const hostname = `ip-${instance.private_ip.replaceAll(".", "-")}.ec2.internal`;
  const leaves: Readonly<Record<string, string>> = {
    "ami-id": "ami-0123456789abcdef0",
    "hostname": hostname,
    "instance-id": instance.instance_id,
    "instance-type": "t3.micro",
    "local-hostname": hostname,
    "local-ipv4": instance.private_ip,
    "mac": instance.mac,
    [`network/interfaces/macs/${instance.mac}/device-number`]: "0",
    [`network/interfaces/macs/${instance.mac}/local-ipv4s`]: instance.private_ip,
    [`network/interfaces/macs/${instance.mac}/mac`]: instance.mac,
    [`network/interfaces/macs/${instance.mac}/subnet-ipv4-cidr-block`]: "172.31.16.0/20",
    "placement/availability-zone": "ap-southeast-2a",
    "placement/region": "ap-southeast-2",
    "public-keys/0/openssh-key": instance.public_key,
    "reservation-id": "r-0123456789abcdef0",
  };
  const metaData = (path: string): string | undefined => {
    if (path === "public-keys") return "0=test";
    if (leaves[path] !== undefined) return leaves[path];
    const below = path === "" ? "" : `${path}/`;
    const names = new Set<string>();
    for (const leaf of Object.keys(leaves)) {
      if (!leaf.startsWith(below)) continue;
      const rest = leaf.slice(below.length);
      const cut = rest.indexOf("/");
      names.add(cut < 0 ? rest : rest.slice(0, cut + 1));
    }
    return names.size === 0 ? undefined : [...names].sort().join("\n");
  };
  const answer = (path: string): string | undefined => {
    const [, rest] = path.match(/^\/(?:latest|\d{4}-\d\d-\d\d)\/(.*?)\/*$/) ?? [];
    if (rest === "user-data") return instance.user_data;
    if (rest === "meta-data") return metaData("");
    if (rest?.startsWith("meta-data/")) return metaData(rest.slice("meta-data/".length));
    if (rest === "dynamic") return "instance-identity/";
    if (rest === "dynamic/instance-identity") return "document";
    if (rest === "dynamic/instance-identity/document") {
      return JSON.stringify({ instanceId: instance.instance_id, region: "ap-southeast-2" });
    }
    return undefined;
  };
  const token = crypto.randomUUID();
  const requests: string[] = [];
  const server = Deno.serve({ path: socket, onListen: () => {} }, (request) => {
    const path = new URL(request.url).pathname;
    requests.push(`${request.method} ${path}`);
    if (request.method === "PUT" && path === "/latest/api/token") return new Response(token);
    if (request.headers.get("x-aws-ec2-metadata-token") !== token) {
      return new Response("", { status: 401 });
    }
    const body = answer(path);
    return new Response(body ?? "", { status: body === undefined ? 404 : 200 });
  });
  return {
    socket,
    requests,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}
