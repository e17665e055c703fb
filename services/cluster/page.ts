/**
 * The page on which a box is claimed. It is served by the box itself, to a browser that may have no
 * way to the internet: one document with its style and script, both named by their digest in the
 * content security policy, so that nothing else runs on it.
 */
import { createHash } from "node:crypto";
import { html, raw } from "hono/html";
import type { Announcement } from "./announcement.ts";

export interface PageFacts
  extends Pick<Announcement, "node_id" | "cluster_id" | "version" | "state" | "host"> {
  readonly claim: "box" | "key" | "claimed";
  readonly gatewayPort: number;
}

const style = `
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 40rem; margin: 3rem auto; padding: 0 1rem; }
label { display: block; margin: .8rem 0; }
input { display: block; width: 100%; font: inherit; padding: .4rem; box-sizing: border-box; }
#code { font: 1.6rem ui-monospace, monospace; letter-spacing: .1em; text-transform: uppercase; }
button { font: inherit; padding: .5rem 1.2rem; }
pre { white-space: pre-wrap; word-break: break-all; padding: .8rem; border: 1px solid; }
[hidden] { display: none; }
`;

const script = `
const form = document.querySelector("form");
const said = document.querySelector("#said");
const say = (text) => { said.textContent = text; };
form?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  say("…");
  try {
    const wish = Object.fromEntries([...new FormData(form)].filter(([, value]) => value !== ""));
    const reply = await fetch("/claim", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(wish),
    });
    const claimed = await reply.json();
    if (!reply.ok) { say(claimed.error); button.disabled = false; return; }
    form.hidden = true;
    say("This box is yours. Its access key is shown once: keep it now.");
    document.querySelector("#key").textContent =
      "[default]\\naws_access_key_id = " + claimed.access_key_id +
      "\\naws_secret_access_key = " + claimed.secret_access_key +
      "\\nregion = " + claimed.region + "\\nendpoint_url = " + claimed.endpoint + "\\n";
    const ca = document.querySelector("#ca");
    ca.href = "data:application/x-x509-ca-cert," + encodeURIComponent(claimed.ca_certificate);
    document.querySelector("#result").hidden = false;
  } catch (error) {
    say("The box did not answer; look at its screen.");
    button.disabled = false;
  }
});
`;

const digest = (text: string) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;

export const pageHeaders: Record<string, string> = {
  "content-security-policy":
    `default-src 'none'; style-src ${digest(style)}; script-src ${digest(script)}; ` +
    `connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'`,
  "referrer-policy": "no-referrer",
};

export function claimPage(facts: PageFacts) {
  const { host, node_id, version, claim, gatewayPort } = facts;
  return html`
    <!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8">
        <meta name="viewport" content="width=device-width, initial-scale=1">
        <title>MulgaOS: ${host}</title>
        <style>${raw(style)}</style>
      </head>
      <body>
    <h1>MulgaOS</h1>
    <p>${host}, node ${node_id}, release ${version}</p>
    ${claim === "claimed"
      ? html`<p>This box is claimed. Its API and its console are on port ${gatewayPort}.</p>`
      : html`
        <form method="post" action="/claim">
        <p>${claim === "box"
          ? "This box belongs to nobody yet. Its screen and its serial line show a code; whoever types it here owns the box."
          : "This box is set up. Its screen and its serial line show a code; whoever types it here gets the access key."}</p>
        <label>Code <input id="code" name="code" required maxlength="20" autocomplete="off" autofocus></label>
        ${claim === "box"
          ? html`
            <details>
              <summary>Region, zone and name</summary>
              <label>Region <input name="region" placeholder="ap-southeast-2" maxlength="40"></label>
              <label>Availability zone <input name="az" placeholder="the region's a" maxlength="41"></label>
              <label>Host name <input name="hostname" placeholder="${host}" maxlength="64"></label>
            </details>
          `
          : ""}
        <p><button>Claim this box</button></p>
        </form>
      `}
    <p id="said" role="status"></p>
    <div id="result" hidden>
    <pre id="key"></pre>
    <p><a id="ca" download="mulga-ca.crt">The authority's certificate</a>: give its path to your client as
    <code>AWS_CA_BUNDLE</code>. The API answers as soon as the box's screen shows its address.</p>
    </div>
    <script>${raw(script)}</script>
      </body>
    </html>
  `;
}
