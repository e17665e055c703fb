/** Whom grants name, as S3 checks it before it looks at whether a bucket has ACLs at all. */
import { AwsError } from "../../aws/errors.ts";
import { invalidArgument } from "./call.ts";
import { maybeNode } from "./document.ts";
import { malformedXml, text, type XmlNode } from "./xml.ts";

const groups: readonly string[] = [
  "http://acs.amazonaws.com/groups/global/AllUsers",
  "http://acs.amazonaws.com/groups/global/AuthenticatedUsers",
  "http://acs.amazonaws.com/groups/s3/LogDelivery",
];
const permissions: readonly string[] = ["FULL_CONTROL", "READ", "READ_ACP", "WRITE", "WRITE_ACP"];

export const malformedAcl = () => new AwsError("MalformedACLError", malformedXml().message);

function checkId(id: string, where: string): void {
  if (!/^[0-9a-f]{64}$/.test(id)) throw invalidArgument("Invalid id", where, id);
}

function checkGroup(uri: string, where: string): void {
  if (!groups.includes(uri)) throw invalidArgument("Invalid group uri", where, uri);
}

/** `id="…", uri="…"` of a header. @throws AwsError `InvalidArgument` */
export function checkHeaderGrants(header: string, value: string): void {
  for (const [grant] of value.matchAll(/(?:"[^"]*"|[^,"])+/g)) {
    const named = /^\s*(id|uri|emailAddress)\s*=\s*"?([^"]*?)"?\s*$/.exec(grant);
    if (named === null) {
      throw invalidArgument("Argument format not recognized", header, grant.trim());
    }
    const [, kind, whom = ""] = named;
    if (kind === "id") checkId(whom, "id");
    if (kind === "uri") checkGroup(whom, "uri");
  }
}

/** The type of a grantee, which is an attribute of it under a prefix that its writer chose. */
const typeOf = (grantee: XmlNode) =>
  Object.entries(grantee).find(([name]) => name.endsWith(":type"))?.[1];

/** @throws AwsError `MalformedACLError`, `InvalidArgument` */
export function checkDocumentGrants(owner: XmlNode, grants: readonly XmlNode[]): void {
  if (grants.some((one) => !permissions.includes(text(one, "Permission") ?? ""))) {
    throw malformedAcl();
  }
  const id = text(owner, "ID");
  if (id !== undefined) checkId(id, "CanonicalUser/ID");
  for (const grant of grants) {
    const grantee = maybeNode(grant, "Grantee");
    if (grantee === undefined) throw malformedAcl();
    switch (typeOf(grantee)) {
      case "CanonicalUser":
        checkId(text(grantee, "ID") ?? "", "CanonicalUser/ID");
        break;
      case "Group":
        checkGroup(text(grantee, "URI") ?? "", "Group/URI");
        break;
      case "AmazonCustomerByEmail":
        break;
      default:
        throw malformedAcl();
    }
  }
}
