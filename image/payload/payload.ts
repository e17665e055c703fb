/** What a payload is for, and how it says that it cannot be made. */

export type PayloadArchitecture = "x86-64" | "arm64";

/** The product cannot be staged; the message says why and what to do. */
export class PayloadError extends Error {
  override readonly name = "PayloadError";
}
