/** Pages for who is not signed in: they tell how to get in, and nothing of what is inside. */
import { html } from "hono/html";
import type { PageReply } from "../gateway/contract.ts";
import { pageReply } from "./document.ts";

/** @param refused why the link that was followed did not work */
export function signInPage(
  refused?: string,
  headers: Record<string, string> = {},
): Promise<PageReply> {
  return pageReply({
    title: "MulgaOS: sign in",
    status: 403,
    headers,
    body: html`
      ${refused === undefined
        ? ""
        : html`<p id="refused" class="notice bad" role="alert">${refused}</p>`}
      <h2 id="sign-in">Sign in</h2>
      <p>On the machine that runs this cloud, type</p>
      <pre tabindex="0">hive console-link</pre>
      <p>
        (in a checkout, <code>deno task hive console-link</code>) and open the link that it prints. It
        works once, within five minutes.
      </p>
      <p><a id="ca" href="/console/ca.crt" download>This cloud's CA certificate</a> lets browsers and
        AWS clients trust its addresses.</p>
    `,
  });
}

export function messagePage(
  status: number,
  words: string,
  headers: Record<string, string> = {},
): Promise<PageReply> {
  return pageReply({
    title: "MulgaOS",
    status,
    headers,
    body: html`
      <p id="message" class="notice bad">${words}</p>
      <p><a href="/console">To the overview</a></p>
    `,
  });
}
