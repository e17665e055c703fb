/**
 * The control server on :8443. Everybody on the network reaches it, so what it takes is small, checked
 * once, and harmless without the claim code; what it tells without the code is no more than what the
 * node announces. Joining a cluster will be further routes here.
 */
import { type Context, Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { errorFields, type Log } from "../log/log.ts";
import type { Announcement } from "./announcement.ts";
import { type ClaimDesk, ClaimRefused, type ClaimWish } from "./claim_desk.ts";
import { claimPage, pageHeaders } from "./page.ts";

/** Form of the answers; a later one has another number. */
const controlFormat = 1;
const longestBody_bytes = 4_096;

export interface ControlOptions {
  readonly log: Log;
  /** Undefined on a node that was never to be claimed. */
  readonly desk: ClaimDesk | undefined;
  /** PEM of the authority, for whoever claims. */
  readonly caCertificate: string;
  readonly ports: { readonly gateway: number; readonly s3: number };
  describe(): Pick<Announcement, "node_id" | "cluster_id" | "version" | "state" | "host">;
}

export type ControlEnvironment = { Bindings: { readonly from: string } };

export function controlApp(options: ControlOptions): Hono<ControlEnvironment> {
  const { log, desk, caCertificate, ports, describe } = options;
  const app = new Hono<ControlEnvironment>();
  const claimState = () => desk?.state ?? "claimed";

  app.use(async (context, next) => {
    await next();
    context.res.headers.set("x-content-type-options", "nosniff");
    context.res.headers.set("cache-control", "no-store");
  });
  app.get("/", (context) => {
    const page = claimPage({ ...describe(), claim: claimState(), gatewayPort: ports.gateway });
    return context.html(page, 200, pageHeaders);
  });
  app.get(
    "/status",
    (context) => context.json({ format: controlFormat, ...describe(), claim: claimState() }),
  );
  app.get(
    "/ca.crt",
    (context) => context.body(caCertificate, 200, { "content-type": "application/x-x509-ca-cert" }),
  );
  app.post(
    "/claim",
    bodyLimit({
      maxSize: longestBody_bytes,
      onError: (context) => refuse(context, 413, "A claim is smaller than that."),
    }),
    async (context) => {
      if (desk === undefined) {
        return refuse(context, 409, "This box is claimed already.");
      }
      const wish = await wishOf(context);
      if (wish === undefined) {
        return refuse(
          context,
          400,
          'Send the code as a form (code=…) or as JSON ({"code": "…"}); region, az and hostname may be added.',
        );
      }
      // Looked at before the claim, which is good once.
      const hostname = URL.parse(context.req.url)?.hostname;
      if (hostname === undefined) return refuse(context, 400, "The Host header names no host.");
      const claimed = await desk.claim(wish, context.env.from);
      return context.json({
        format: controlFormat,
        ...claimed,
        endpoint: `https://${hostname}:${ports.gateway}`,
        s3_endpoint: `https://${hostname}:${ports.s3}`,
        ca_certificate: caCertificate,
      });
    },
  );
  app.notFound((context) => refuse(context, 404, "There is nothing here; see /."));
  app.onError((error, context) => {
    if (error instanceof ClaimRefused) return refuse(context, error.status, error.message);
    log.error("control_failed", errorFields(error));
    return refuse(context, 500, "This failed on the box; its log says why.");
  });
  return app;
}

function refuse(
  context: Context,
  status: 400 | 403 | 404 | 409 | 413 | 429 | 500,
  error: string,
): Response {
  return context.json({ format: controlFormat, error }, status);
}

const fields = ["code", "region", "az", "hostname"] as const;

/** The claim in a body of either kind; undefined when there is none in it. */
async function wishOf(context: Context): Promise<ClaimWish | undefined> {
  const body = await context.req.text();
  let given: Readonly<Record<string, unknown>>;
  if (context.req.header("content-type")?.startsWith("application/json") === true) {
    try {
      const value: unknown = JSON.parse(body);
      if (typeof value !== "object" || value === null) return undefined;
      given = value as Readonly<Record<string, unknown>>;
    } catch {
      return undefined;
    }
  } else given = Object.fromEntries(new URLSearchParams(body));
  const wish: Record<string, string> = {};
  for (const name of fields) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (value === undefined || value === "") continue;
    if (typeof value !== "string") return undefined;
    wish[name] = value;
  }
  const { code, ...rest } = wish;
  return code === undefined ? undefined : { code, ...rest };
}
