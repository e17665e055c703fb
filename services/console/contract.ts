/** What others may know of the console: how the operator gets into it. Its pages are `consolePage` of the gateway. */
import { subject } from "../bus/subject.ts";

export interface LoginLink {
  /** Signs one browser in, once. */
  readonly url: string;
  /** ISO 8601; five minutes from now. */
  readonly expires_at: string;
}

/** Makes a link that signs a browser in; only the operator's nkey may ask. */
export const loginLink = subject<null, LoginLink>("console.login_link", 5_000);
