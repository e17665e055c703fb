import { invalidValue } from "../resources/errors.ts";

const longest = 255;

/** What is said of an image or a snapshot. @throws AwsError `InvalidParameterValue` */
export function checkDescription(text: string | undefined): void {
  if ((text ?? "").length <= longest) return;
  throw invalidValue(`Description is longer than ${longest} characters`);
}
