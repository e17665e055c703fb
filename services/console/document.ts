/**
 * The frame of every page: one document without any outside resource, a style and a script whose
 * hashes the Content-Security-Policy names, and headers that keep it out of frames and caches.
 */
import { html, raw } from "hono/html";
import { createHash } from "node:crypto";
import type { PageReply } from "../gateway/contract.ts";

/** Markup that is escaped already. */
export type Markup = ReturnType<typeof html>;

const style = `
:root {
  color-scheme: light dark;
  --ground: #fff; --raised: #f5f6f8; --line: #d5d9e0; --ink: #16191f; --quiet: #545b64;
  --link: #0353a4; --ok: #1d6b32; --warn: #8a4b00; --bad: #b3121d;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ground: #14171c; --raised: #1d2229; --line: #363d48; --ink: #e8eaee; --quiet: #a5adb9;
    --link: #7cb8ff; --ok: #6fd58b; --warn: #f0b25c; --bad: #ff8a8f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 84rem; padding: 0 1rem 3rem; background: var(--ground);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif;
}
header { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: baseline; padding: 1rem 0; }
header p { margin: 0; color: var(--quiet); }
header form { margin-left: auto; }
h1 { margin: 0; font-size: 1.5rem; }
h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; }
a { color: var(--link); }
button {
  font: inherit; color: var(--ink); background: var(--raised); border: 1px solid var(--line);
  border-radius: .4rem; padding: .3rem .8rem; min-height: 2.5rem; cursor: pointer;
}
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code, pre { font: .9em/1.5 ui-monospace, monospace; }
pre {
  margin: .5rem 0; padding: .75rem 1rem; overflow-x: auto; background: var(--raised);
  border: 1px solid var(--line); border-radius: .4rem;
}
.notice { padding: .75rem 1rem; border: 1px solid var(--line); border-left: .4rem solid var(--quiet); border-radius: .4rem; }
.notice.ok { border-left-color: var(--ok); }
.notice.degraded { border-left-color: var(--warn); }
.notice.down, .notice.bad { border-left-color: var(--bad); }
.state { font-weight: 600; white-space: nowrap; }
.state.ok, .state.running, .state.available, .state.in-use { color: var(--ok); }
.state.degraded, .state.pending, .state.creating, .state.stopping, .state.shutting-down { color: var(--warn); }
.state.down, .state.error, .state.failed { color: var(--bad); }
.quiet { color: var(--quiet); }
.id { font: .9em/1.5 ui-monospace, monospace; overflow-wrap: anywhere; }
.unbroken { white-space: nowrap; }
@media (min-width: 74rem) { td .id, td code { white-space: nowrap; } }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .45rem .75rem .45rem 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--quiet); font-weight: 600; font-size: .9rem; }
td ul { margin: 0; padding: 0; list-style: none; }
@media (max-width: 52rem) {
  thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
  table, tbody, tr, td { display: block; }
  tr { margin: 0 0 .75rem; padding: .5rem .75rem; border: 1px solid var(--line); border-radius: .4rem; }
  td { display: grid; grid-template-columns: 7.5rem 1fr; gap: .5rem; padding: .2rem 0; border: 0; }
  td[data-empty] { display: none; }
  td::before { content: attr(data-label); color: var(--quiet); }
}
`;

/** Fetches the page again every ten seconds and puts its newer part in place. */
const script = `
(() => {
  const every_ms = 10000;
  const stale = document.getElementById("stale");
  const refresh = async () => {
    const live = document.getElementById("live");
    const selection = getSelection();
    const reading = selection && !selection.isCollapsed && live.contains(selection.anchorNode);
    if (document.hidden || reading) return;
    try {
      const answer = await fetch(location.pathname, {
        credentials: "same-origin", cache: "no-store", signal: AbortSignal.timeout(8000),
      });
      if (answer.status === 403) return location.reload();
      if (!answer.ok) throw new Error(String(answer.status));
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      const newer = page.getElementById("live");
      const focused = live.contains(document.activeElement) ? document.activeElement.id : "";
      live.replaceWith(document.adoptNode(newer));
      if (focused) document.getElementById(focused)?.focus();
      stale.hidden = true;
    } catch {
      stale.hidden = false;
    }
  };
  setInterval(refresh, every_ms);
  document.addEventListener("visibilitychange", refresh);
})();
`;

const hashOf = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

const policy = [
  "default-src 'none'",
  `style-src ${hashOf(style)}`,
  `script-src ${hashOf(script)}`,
  "connect-src 'self'",
  "form-action 'self'",
  "base-uri 'none'",
  "frame-ancestors 'none'",
].join("; ");

/** On everything that the console answers. */
export const commonHeaders: Readonly<Record<string, string>> = {
  "cache-control": "no-store",
  "content-security-policy": policy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  // A login link's token is in its address. With `no-referrer` browsers would send forms without origin.
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

export interface Page {
  readonly title: string;
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly header?: Markup;
  readonly body: Markup;
  /** Keeps itself up to date; the body then has an element with the id `live`. */
  readonly live?: boolean;
}

export async function pageReply(page: Page): Promise<PageReply> {
  const refresh = html`
    <noscript><meta http-equiv="refresh" content="15"></noscript>
  `;
  const document = await html`
    <!DOCTYPE html>
    <html lang="en">
      <head>
            <meta charset="utf-8">
            <meta name="viewport" content="width=device-width, initial-scale=1">
            <title>${page.title}</title>
            <style>${raw(style)}</style>
            ${page.live === true ? refresh : ""}
          </head>
      <body>
            <header>
              <h1>MulgaOS</h1>
              ${page.header ?? ""}
            </header>
            <main>${page.body}</main>
            ${page.live === true ? html`<script>${raw(script)}</script>` : ""}
          </body>
    </html>
  `;
  return {
    status: page.status ?? 200,
    headers: {
      ...commonHeaders,
      "content-type": "text/html; charset=utf-8",
      ...page.headers,
    },
    body: String(document),
  };
}
