/**
 * One request to 169.254.169.254 answered as EC2 answers it.
 *
 * Who asks is known from the socket that the request came by. IMDSv2: a PUT gives a token, a GET
 * shows it; without one IMDSv1 answers unless the instance requires tokens. A request that a proxy
 * has forwarded gets no token, so a fooled web server inside the guest cannot fetch one.
 *
 * Below `/nocloud/` the same facts lie in the form of cloud-init's NoCloud datasource, for images
 * that do not know EC2's.
 */
import type { InstanceRecord } from "../compute/contract.ts";
import { noCloudFile } from "./nocloud.ts";
import { type Found, identityDocument, lookup, metaData, type Tree } from "./tree.ts";
import type { Role } from "./role_credentials.ts";
import { longestToken_s, type Tokens } from "./token.ts";

/** As EC2 lists them; all have the same content. */
export const versions = [
  "1.0",
  "2007-01-19",
  "2007-03-01",
  "2007-08-29",
  "2007-10-10",
  "2007-12-15",
  "2008-02-01",
  "2008-09-01",
  "2009-04-04",
  "2011-01-01",
  "2011-05-01",
  "2012-01-12",
  "2014-02-25",
  "2014-11-05",
  "2015-10-20",
  "2016-04-19",
  "2016-06-30",
  "2016-09-02",
  "2018-03-28",
  "2018-08-17",
  "2018-09-24",
  "2019-10-01",
  "2020-10-27",
  "2021-01-03",
  "2021-03-23",
  "2021-07-15",
  "2022-07-09",
  "2022-09-24",
  "2024-04-11",
  "latest",
] as const;

const longestPath = 1024;

export interface RespondContext {
  readonly region: string;
  readonly tokens: Tokens;
  /** The role's credentials, where the instance has a profile that gives some. */
  readonly role?: Role;
}

const statusTexts: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  503: "Service Unavailable",
};

/** EC2's own error page, which programs have been seen to look at. */
export function refusal(status: number): Response {
  const title = `${status} - ${statusTexts[status] ?? "Error"}`;
  const page = `<?xml version="1.0" encoding="iso-8859-1"?>
<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN"
	"http://www.w3.org/TR/xhtml1/DTD/xhtml1-transitional.dtd">
<html xmlns="http://www.w3.org/1999/xhtml" xml:lang="en" lang="en">
 <head>
  <title>${title}</title>
 </head>
 <body>
  <h1>${title}</h1>
 </body>
</html>
`;
  return new Response(page, {
    status,
    headers: { "content-type": "text/html", "server": "EC2ws" },
  });
}

function text(body: string | Uint8Array<ArrayBuffer>, more: Record<string, string> = {}): Response {
  return new Response(body, {
    headers: { "content-type": "text/plain", "server": "EC2ws", ...more },
  });
}

export function respond(
  request: Request,
  instance: InstanceRecord,
  context: RespondContext,
): Response {
  const path = pathOf(request);
  if (path === undefined) return refusal(400);
  if (instance.metadata_options.http_endpoint === "disabled") return refusal(403);
  const names = path.split("/").filter((name) => name !== "");
  if (request.method === "PUT") {
    return names.join("/") === "latest/api/token"
      ? giveToken(request, instance, context)
      : refusal(405);
  }
  if (request.method !== "GET" && request.method !== "HEAD") return refusal(405);
  const life = {} as Record<string, string>;
  const token = request.headers.get("x-aws-ec2-metadata-token");
  // NoCloud knows nothing of tokens and shows nothing else than what EC2's own way shows.
  const isNoCloud = names[0] === "nocloud";
  if (token !== null) {
    const left_s = context.tokens.check(instance.instance_id, token);
    if (left_s === undefined) return refusal(401);
    life["x-aws-ec2-metadata-token-ttl-seconds"] = String(left_s);
  } else if (instance.metadata_options.http_tokens === "required") {
    return refusal(401);
  }
  if (names.length === 0) return text(versions.join("\n"), life);
  if (isNoCloud) {
    const file = noCloudFile(instance, names.slice(1).join("/"));
    return file === undefined ? refusal(404) : text(file, life);
  }
  const [version, branch, ...rest] = names;
  if (!versions.some((known) => known === version)) return refusal(404);
  switch (branch) {
    case undefined:
      return text(
        ["dynamic", "meta-data", ...(instance.user_data === undefined ? [] : ["user-data"])]
          .join("\n"),
        life,
      );
    case "user-data":
      if (rest.length > 0 || instance.user_data === undefined) return refusal(404);
      return text(Uint8Array.fromBase64(instance.user_data), {
        ...life,
        "content-type": "application/octet-stream",
      });
    case "dynamic": {
      const document = identityDocument(instance, context.region);
      return show(lookup({ "instance-identity": { document } }, rest), life);
    }
    case "meta-data":
      if (rest.length === 1 && rest[0] === "public-keys" && instance.public_key !== undefined) {
        return text(`0=${instance.key_name}`, life);
      }
      return show(lookup(metaTree(instance, context), rest), life);
    default:
      return refusal(404);
  }
}

function metaTree(instance: InstanceRecord, { region, role }: RespondContext): Tree {
  return metaData(instance, region, role);
}

function show(found: Found, headers: Record<string, string>): Response {
  if (found === undefined) return refusal(404);
  return text(found.kind === "text" ? found.text : found.names.join("\n"), headers);
}

function giveToken(
  request: Request,
  instance: InstanceRecord,
  { tokens }: RespondContext,
): Response {
  if (request.headers.has("x-forwarded-for")) return refusal(403);
  const asked = request.headers.get("x-aws-ec2-metadata-token-ttl-seconds") ?? "";
  const life_s = /^\d{1,6}$/.test(asked) ? Number(asked) : 0;
  if (life_s < 1 || life_s > longestToken_s) return refusal(400);
  return text(tokens.issue(instance.instance_id, life_s), {
    "x-aws-ec2-metadata-token-ttl-seconds": String(life_s),
  });
}

/** What names a host, with a port or without; in front of the path it must not become a part of it. */
const hostForm = /^[A-Za-z0-9.:[\]_-]*$/;

/** The path with its escapes resolved, or undefined when it makes no sense. */
export function pathOf(request: Request): string | undefined {
  const { url, headers } = request;
  if (!hostForm.test(headers.get("host") ?? "")) return undefined;
  const [, host = "", target = ""] = /^[a-z+]+:\/\/([^/]*)(.*)$/s.exec(url) ?? [];
  // Over a Unix socket a request without a host has the socket's path in its place, escaped.
  if (!hostForm.test(host.replaceAll("%", "")) || /\[[^\]]*$/.test(host)) return undefined;
  try {
    const path = decodeURIComponent(new URL(`http://imds${target}`).pathname);
    return path.length > longestPath || path.includes("\0") ? undefined : path;
  } catch {
    return undefined;
  }
}
