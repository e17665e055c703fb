/** The options that `up`, `dev` and `hive admin init` share. */
import type { PortWishes } from "../init/ports.ts";
import { CommandError, dataDirOption, portOption } from "../terminal/command.ts";

export const nodeOptions = {
  ...dataDirOption,
  port: { type: "string", value: "N", help: "Port of the AWS gateway (default: 9999)" },
  "s3-port": { type: "string", value: "N", help: "Port of S3 alone (default: 9002)" },
  "nats-port": { type: "string", value: "N", help: "Port of NATS, loopback only (default: 4222)" },
  "control-port": {
    type: "string",
    value: "N",
    help: "Port of the cluster's control server (default: 8443)",
  },
  ports: { type: "string", value: "auto", help: "auto: free ports for a new data directory" },
  region: { type: "string", value: "NAME", help: "Region of a new node (default: ap-southeast-2)" },
  az: {
    type: "string",
    value: "NAME",
    help: "Availability zone of a new node (default: region + a)",
  },
  profile: {
    type: "string",
    value: "NAME",
    help:
      "AWS CLI profile to write into your own AWS files (default: mulga, for the default data directory)",
  },
  bind: {
    type: "string",
    value: "ADDRESS",
    help: "Address that the gateway and S3 listen on (default: 127.0.0.1)",
  },
  accelerator: {
    type: "string",
    value: "auto|kvm|tcg",
    help: "How guests run (default: auto, KVM where its self-test passes)",
  },
} as const;

type NodeOptionValues = { readonly [K in keyof typeof nodeOptions]?: string };

/** The command line's words as options of a start. @throws CommandError */
export function startOptionsOf(options: NodeOptionValues) {
  if (options.ports !== undefined && options.ports !== "auto") {
    throw new CommandError(
      `--ports knows only "auto"; use --port, --s3-port, --nats-port and --control-port.`,
      2,
    );
  }
  const port = (name: "port" | "s3-port" | "nats-port" | "control-port") =>
    options[name] === undefined ? undefined : portOption(name, options[name]);
  const [gateway, s3, nats, control] = [
    port("port"),
    port("s3-port"),
    port("nats-port"),
    port("control-port"),
  ];
  const ports: PortWishes = {
    ...(gateway === undefined ? {} : { gateway }),
    ...(s3 === undefined ? {} : { s3 }),
    ...(nats === undefined ? {} : { nats }),
    ...(control === undefined ? {} : { control }),
    ...(options.ports === undefined ? {} : { auto: true }),
  };
  const { region, az, profile, bind, accelerator } = options;
  return {
    ports,
    ...(options["data-dir"] === undefined ? {} : { dataDir: options["data-dir"] }),
    ...(region === undefined ? {} : { region }),
    ...(az === undefined ? {} : { az }),
    ...(profile === undefined ? {} : { profile }),
    ...(bind === undefined ? {} : { bind }),
    ...(accelerator === undefined ? {} : { accelerator }),
  };
}
