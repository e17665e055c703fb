/**
 * Which page a request gets. Everything but the sign-in page and the CA's certificate needs a session.
 *
 * Requests come unsigned from the outside, through the gateway: nothing in them is believed. What
 * goes wrong inside is a page that says so, never a silent one.
 */
import type { NodeConfig } from "../config/node_config.ts";
import type { PageReply, PageRequest } from "../gateway/contract.ts";
import { commonHeaders } from "./document.ts";
import type { Inventory } from "./inventory.ts";
import { overviewPage } from "./overview.ts";
import type { ServiceHealth } from "./service_health.ts";
import {
  cookieValue,
  formProof,
  isFormProof,
  sessionLifetime_ms,
  type Sessions,
} from "./sessions.ts";
import { messagePage, signInPage } from "./sign_in.ts";

export interface PageSources {
  readonly config: NodeConfig;
  readonly sessions: Sessions;
  /** PEM. */
  readonly caCertificate: string;
  readonly health: () => Promise<readonly ServiceHealth[]>;
  readonly inventory: () => Inventory;
  readonly now?: () => number;
}

/** Browsers send a host's cookies to all its ports: two clouds on one host must not share one. */
export const cookieName = (config: NodeConfig) => `__Host-mulga-${config.ports.gateway}`;

function setCookie(config: NodeConfig, value: string, maxAge_s: number): Record<string, string> {
  return {
    "set-cookie": `${cookieName(config)}=${value}; Path=/; Max-Age=${maxAge_s}; ` +
      "Secure; HttpOnly; SameSite=Strict",
  };
}

const toOverview = (headers: Record<string, string>): PageReply => ({
  status: 303,
  headers: { ...commonHeaders, location: "/console", ...headers },
  body: "",
});

export async function answerPage(sources: PageSources, request: PageRequest): Promise<PageReply> {
  const { config, sessions } = sources;
  let url: URL;
  try {
    url = new URL(String(request?.target), "https://console.invalid");
  } catch {
    return await messagePage(404, "There is no such page.");
  }
  const session = cookieValue(String(request.cookie ?? ""), cookieName(config));
  const path = url.pathname.replace(/(.)\/$/, "$1");
  // A program that looks whether a link is one must not use it up.
  const isLook = request.method === "HEAD" && path === "/console/login";
  const key = `${request.method === "HEAD" && !isLook ? "GET" : request.method} ${path}`;
  if (key === "GET /console/ca.crt") return caReply(sources.caCertificate);
  if (key === "GET /console/login") return await signIn(sources, url);
  if (isLook || !sessions.isSignedIn(session)) return await signInPage();
  if (key === "GET /console") return await overview(sources, session);
  if (key === "POST /console/logout") {
    if (!isFormProof(String(request.form?.["proof"] ?? ""), session)) {
      return await messagePage(
        403,
        "This form is not from this page, or is out of date. Sign out again.",
      );
    }
    await sessions.end(session);
    return toOverview(setCookie(config, "", 0));
  }
  return path === "/console/logout" || path === "/console"
    ? await messagePage(405, "That cannot be done this way.", {
      allow: path === "/console" ? "GET" : "POST",
    })
    : await messagePage(404, "There is no such page.");
}

async function overview(sources: PageSources, session: string): Promise<PageReply> {
  return await overviewPage({
    config: sources.config,
    services: await sources.health(),
    inventory: sources.inventory(),
    formProof: formProof(session),
    now_ms: (sources.now ?? Date.now)(),
  });
}

async function signIn({ config, sessions }: PageSources, url: URL): Promise<PageReply> {
  const session = await sessions.redeem(url.searchParams.get("token") ?? "");
  if (session === undefined) {
    return await signInPage("This link was used already, or is older than five minutes.");
  }
  return toOverview(setCookie(config, session, sessionLifetime_ms / 1000));
}

function caReply(certificate: string): PageReply {
  return {
    status: 200,
    headers: {
      ...commonHeaders,
      "content-type": "application/x-x509-ca-cert",
      "content-disposition": `attachment; filename="mulga-ca.crt"`,
    },
    body: certificate,
  };
}
