/** The text of a seed without its secrets, still a seed and still its writer's otherwise. */
import { isMap, parseDocument } from "yaml";

/** What stands where a token stood: a value that a seed may have, so that the file stays one. */
export const usedToken = "used-and-removed";

/** @returns undefined when there is no secret in it. The text must be a seed that was read. */
export function wipeSecrets(text: string, now: Date): string | undefined {
  const document = parseDocument(text.replace(/^\ufeff/, ""));
  if (!isMap(document.contents)) return undefined;
  const token = document.getIn(["cluster", "token"]);
  const hasToken = token !== undefined && token !== usedToken;
  if (!hasToken && !document.has("admin")) return undefined;
  document.delete("admin");
  if (hasToken) document.setIn(["cluster", "token"], usedToken);
  const day = now.toISOString().slice(0, 10);
  return `# The secrets of this file were used by this box and removed from it on ${day}.\n` +
    document.toString({ lineWidth: 0 });
}
