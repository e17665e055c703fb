/** The overview: how the node is, what runs on it, and what to type next. */
import { html } from "hono/html";
import type { ImageRecord, InstanceRecord, VolumeRecord } from "../compute/contract.ts";
import type { NodeConfig } from "../config/node_config.ts";
import type { PageReply } from "../gateway/contract.ts";
import { type Markup, pageReply } from "./document.ts";
import type { Inventory, Loose } from "./inventory.ts";
import { originOf } from "./origin.ts";
import type { ServiceHealth, Status } from "./service_health.ts";
import { count, duration, mebibytes, moment } from "./words.ts";

export interface Overview {
  readonly config: NodeConfig;
  readonly services: readonly ServiceHealth[];
  readonly inventory: Inventory;
  readonly formProof: string;
  readonly now_ms: number;
}

/** A page is for reading: who has more asks the API. */
const shownRows = 200;

type Cell = Markup | string;

interface Column<T> {
  readonly label: string;
  readonly cell: (record: T) => Cell;
}

/** A record of a form that this release does not know leaves a gap. */
function contentOf<T>(column: Column<T>, row: T): Cell {
  try {
    return column.cell(row);
  } catch {
    return "";
  }
}

function table<T>(id: string, noun: string, columns: readonly Column<T>[], rows: readonly T[]) {
  if (rows.length === 0) return html`<p id="${id}" class="quiet">There is no ${noun} yet.</p>`;
  const cell = (column: Column<T>, row: T) => {
    const content = contentOf(column, row);
    return html`
      <td role="cell" data-label="${column.label}" ${content === ""
        ? html`
          data-empty
        `
        : ""}>
        <div>${content}</div>
      </td>
    `;
  };
  return html`
    <table id="${id}" role="table">
      <thead role="rowgroup">
        <tr role="row">
          ${columns.map(({ label }) => html`<th role="columnheader" scope="col">${label}</th>`)}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.slice(0, shownRows).map((row) =>
          html`<tr role="row">${columns.map((column) => cell(column, row))}</tr>`
        )}
      </tbody>
    </table>
    ${rows.length > shownRows
      ? html`<p class="quiet">The newest ${String(shownRows)} of ${
        count(rows.length, noun)
      }; the API lists all.</p>`
      : ""}
  `;
}

const state = (word: string | undefined) =>
  word === undefined ? "" : html`<span class="state ${word}">${word}</span>`;
const id = (text: string | undefined) =>
  text === undefined ? "" : html`<span class="id">${text}</span>`;
const unbroken = (text: string) => text === "" ? "" : html`<span class="unbroken">${text}</span>`;
const quiet = (text: string | undefined) =>
  text === undefined || text === "" ? "" : html`<div class="quiet">${text}</div>`;

/** The name tag over the id. */
function named(tags: Loose<Record<string, string>> | undefined, text: string | undefined): Cell {
  const name = tags?.["Name"];
  return name === undefined || name === "" ? id(text) : html`<div>${name}</div>${id(text)}`;
}

function serviceColumns(now_ms: number): Column<ServiceHealth>[] {
  return [
    { label: "Service", cell: (service) => html`${service.name}${quiet(service.summary)}` },
    {
      label: "Health",
      cell: (service) =>
        html`${state(service.status)}${
          service.status === "ok" ? "" : quiet(
            `${service.detail} So for ${duration(now_ms - service.since_ms)} at least.`.trim(),
          )
        }`,
    },
    {
      label: "Up",
      cell: (service) =>
        service.uptime_ms === undefined ? "" : unbroken(duration(service.uptime_ms)),
    },
    {
      label: "Memory",
      cell: (service) => service.rss_bytes === undefined ? "" : mebibytes(service.rss_bytes),
    },
    {
      label: "Facts",
      cell: (service) =>
        service.facts.length === 0
          ? ""
          : html`<span class="quiet">${
            service.facts.map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`).join(", ")
          }</span>`,
    },
  ];
}

function instanceColumns({ inventory, now_ms }: Overview): Column<Loose<InstanceRecord>>[] {
  const imageNames = new Map(inventory.images.map((image) => [image.image_id, image.name]));
  return [
    { label: "Instance", cell: (instance) => named(instance.tags, instance.instance_id) },
    {
      label: "State",
      cell: (instance) =>
        html`${state(instance.state)}${quiet(instance.state_reason?.message)}${
          quiet(instance.impaired)
        }`,
    },
    { label: "Type", cell: (instance) => instance.instance_type ?? "" },
    {
      label: "Image",
      cell: (instance) => html`${id(instance.image_id)}${quiet(imageNames.get(instance.image_id))}`,
    },
    {
      label: "Address",
      cell: (instance) =>
        html`${instance.network?.private_ip ?? ""}${
          instance.state === "running" && instance.network?.ssh_port !== undefined
            ? html`<div class="quiet"><code>hive ssh ${instance.instance_id}</code></div>`
            : ""
        }`,
    },
    {
      label: "Volumes",
      cell: ({ attachments = [] }) =>
        attachments.length === 0
          ? ""
          : html`<ul>${
            attachments.map((one) => html`<li>${one.device ?? ""} ${id(one.volume_id)}</li>`)
          }</ul>`,
    },
    {
      label: "Running for",
      cell: (instance) =>
        instance.state === "running"
          ? unbroken(duration(now_ms - Date.parse(instance.launch_time ?? "")))
          : "",
    },
  ];
}

const volumeColumns: readonly Column<Loose<VolumeRecord>>[] = [
  { label: "Volume", cell: (volume) => named(volume.tags, volume.volume_id) },
  { label: "State", cell: (volume) => state(volume.state) },
  {
    label: "Size",
    cell: (volume) => volume.size_gib === undefined ? "" : `${volume.size_gib} GiB`,
  },
  { label: "Type", cell: (volume) => volume.volume_type ?? "" },
  {
    label: "Attached to",
    cell: ({ attachment }) =>
      attachment === undefined
        ? ""
        : html`${id(attachment.instance_id)}${quiet(`as ${attachment.device ?? "?"}`)}`,
  },
  { label: "Made", cell: (volume) => moment(volume.create_time) },
];

const imageColumns: readonly Column<Loose<ImageRecord>>[] = [
  { label: "Image", cell: (image) => html`${image.name ?? ""}<div>${id(image.image_id)}</div>` },
  { label: "State", cell: (image) => state(image.state) },
  { label: "Architecture", cell: (image) => image.architecture ?? "" },
  {
    label: "Size",
    cell: ({ block_devices: [root] = [] }) =>
      root?.size_gib === undefined ? "" : `${root.size_gib} GiB`,
  },
  { label: "Made", cell: (image) => moment(image.creation_date) },
];

function summary(services: readonly ServiceHealth[]): Markup {
  const not = (status: Status) =>
    services.filter((service) => service.status === status).map((service) => service.name);
  const [down, degraded] = [not("down"), not("degraded")];
  const worst: Status = down.length > 0 ? "down" : degraded.length > 0 ? "degraded" : "ok";
  const words = [
    ...(down.length > 0 ? [`Down: ${down.join(", ")}.`] : []),
    ...(degraded.length > 0 ? [`Degraded: ${degraded.join(", ")}.`] : []),
  ];
  return html`<p id="summary" class="notice ${worst}" data-status="${worst}">${
    words.length === 0
      ? "All services are well."
      : html`${words.join(" ")} <code>hive logs</code> says more.`
  }</p>`;
}

function nextSteps({ config, inventory }: Overview): Markup {
  const image = inventory.images.find((one) =>
    // It goes into a line to be typed: nothing but an id may.
    one.state === "available" && /^ami-[0-9a-f]+$/.test(one.image_id ?? "")
  )?.image_id ?? "ami-…";
  // Lines apart, since white space inside a template is not kept as it stands.
  const commands = [
    'eval "$(hive env)"',
    "aws sts get-caller-identity",
    "aws ec2 create-key-pair --key-name me --query KeyMaterial --output text > me.pem",
    "chmod 600 me.pem",
    `aws ec2 run-instances --image-id ${image} --instance-type t3.micro --key-name me`,
    "aws ec2 wait instance-running",
    "hive ssh i-… -i me.pem -l debian",
  ];
  return html`
    <h2>What to type next</h2>
    <p>On this machine, in a shell (in a checkout, <code>hive</code> is <code>deno task hive</code>):</p>
    <pre id="next" tabindex="0">${commands.join("\n")}</pre>
    <p>
      Any AWS client: endpoint <code id="endpoint">${originOf(
        config,
      )}</code>, S3 alone on port ${String(config.ports.s3)},
      region <code>${config.region}</code>, and it must trust
      <a id="ca" href="/console/ca.crt" download>this cloud's CA certificate</a>.
    </p>
  `;
}

export function overviewPage(overview: Overview): Promise<PageReply> {
  const { config, services, inventory, now_ms } = overview;
  return pageReply({
    title: `MulgaOS: ${config.node_id}`,
    live: true,
    header: html`
      <p>Node <span id="node" class="id">${config.node_id}</span>, ${config.az}</p>
      <form method="post" action="/console/logout">
        <input type="hidden" name="proof" value="${overview.formProof}">
        <button id="logout" type="submit">Sign out</button>
      </form>
    `,
    body: html`
      <p id="stale" class="notice bad" role="status" hidden>
        The node does not answer; what is below may be out of date.
      </p>
      <div id="live">
        ${summary(services)}
        <p class="quiet">As of <time id="as-of" datetime="${new Date(now_ms)
          .toISOString()}">${moment(now_ms)}</time></p>
        <section aria-labelledby="services-title">
          <h2 id="services-title">Services</h2>
          ${table("services", "service", serviceColumns(now_ms), services)}
        </section>
        <section aria-labelledby="instances-title">
          <h2 id="instances-title">Instances</h2>
          ${table("instances", "instance", instanceColumns(overview), inventory.instances)}
        </section>
        <section aria-labelledby="volumes-title">
          <h2 id="volumes-title">Volumes</h2>
          ${table("volumes", "volume", volumeColumns, inventory.volumes)}
        </section>
        <section aria-labelledby="images-title">
          <h2 id="images-title">Images</h2>
          ${table("images", "image", imageColumns, inventory.images)}
        </section>
      </div>
      <section>${nextSteps(overview)}</section>
    `,
  });
}
