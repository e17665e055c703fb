/**
 * When an image is deprecated. A public one always is, two years after it was made unless its owner said an earlier time: so
 * that nobody goes on finding what nobody cares for. That time follows from the image and is not written down, and it goes
 * when the image is no longer public.
 */
import type { ImageRecord } from "../contract.ts";

const public_years = 2;

/** ISO 8601. */
export function yearsAfter(start: Date, years: number): string {
  const end = new Date(start);
  end.setUTCFullYear(end.getUTCFullYear() + years);
  return end.toISOString();
}

/** The latest time that a public image may have. */
export const publicDeprecation = ({ creation_date }: Pick<ImageRecord, "creation_date">): string =>
  yearsAfter(new Date(creation_date), public_years);

/** ISO 8601; undefined for an image that is not to be deprecated. */
export function deprecationOf(
  image: Pick<ImageRecord, "creation_date" | "deprecation_time" | "public">,
): string | undefined {
  if (!image.public) return image.deprecation_time;
  const latest = publicDeprecation(image);
  const said = image.deprecation_time;
  return said !== undefined && said < latest ? said : latest;
}
