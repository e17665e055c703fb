/**
 * Which release this is: what the image says of itself, else `version` of deno.json, which is part of
 * every bundle. A test build may give an image another version than its source has.
 */
import source from "../../deno.json" with { type: "json" };

let known: string | undefined;

export function releaseVersion(): string {
  return known ??= imageVersion() ?? source.version;
}

/** A field of an os-release file, unquoted. */
export function osReleaseField(text: string, name: string): string | undefined {
  const match = new RegExp(`^${name}=(?:"([^"]*)"|'([^']*)'|(.*))$`, "m").exec(text);
  return match?.[1] ?? match?.[2] ?? match?.[3];
}

/** The version of the appliance's image that runs; undefined on any other system. */
export function imageVersion(path = "/usr/lib/os-release"): string | undefined {
  let text: string;
  try {
    text = Deno.readTextFileSync(path);
  } catch {
    // Not to be read by this service, or not there: then the source's version is what is known.
    return undefined;
  }
  return osReleaseField(text, "IMAGE_ID") === "mulgaos"
    ? osReleaseField(text, "IMAGE_VERSION")
    : undefined;
}
