/** What everything that is built to be installed is asked for. */
import config from "../deno.json" with { type: "json" };

export const buildOptions = {
  architecture: {
    type: "string",
    value: "x86-64|arm64",
    help: "What it will run on (default: x86-64)",
  },
  version: {
    type: "string",
    value: "VERSION",
    help: `Its version (default: ${config.version}, from deno.json)`,
  },
} as const;
