/**
 * What UEFI's boot manager goes by, read from and written into a set of variables: an order of
 * entries, each naming a file on the ESP, and at most one entry for the next start alone.
 *
 * Our entries have numbers of their own; those that U-Boot makes for the disks it finds are kept, after
 * ours, and are the last resort: through them systemd-boot is started.
 */
import { bootAttributes, globalVendor, readUtf16, utf16, type Variable } from "./variable_store.ts";

/** U-Boot numbers its own from 0 up. */
const firstNumber = 0x4d00;
/** Of the version on trial, always: by it (BootCurrent) the running system knows that it is one. */
const trialNumber = 0x4dff;
const active = 1;

export interface BootChoice {
  /** Kernel images below /EFI/Linux, the one to start first. */
  readonly order: readonly string[];
  /** Started once at the next start, then forgotten, however that start ends. */
  readonly next?: string;
}

const folder = "\\EFI\\Linux\\";

/** An EFI_LOAD_OPTION: a name for the screen, and the file as a short device path. */
function loadOption(file: string): Uint8Array<ArrayBuffer> {
  const label = utf16(`MulgaOS ${file}`);
  const path = utf16(folder + file);
  const node = 4 + path.length;
  const bytes = new Uint8Array(6 + label.length + node + 4);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, active, true);
  view.setUint16(4, node + 4, true);
  bytes.set(label, 6);
  const at = 6 + label.length;
  // Media device, file path; then the end of the whole path.
  bytes.set([4, 4], at);
  view.setUint16(at + 2, node, true);
  bytes.set(path, at + 4);
  bytes.set([0x7f, 0xff, 4, 0], at + node);
  return bytes;
}

/** The file that an entry of ours names. */
function fileOf(option: Uint8Array): string | undefined {
  const label = readUtf16(option, 6);
  if (label === undefined) return undefined;
  const at = 6 + (label.length + 1) * 2;
  if (option[at] !== 4 || option[at + 1] !== 4) return undefined;
  const path = readUtf16(option, at + 4);
  return path?.startsWith(folder) ? path.slice(folder.length) : undefined;
}

const nameOf = (number: number) => `Boot${number.toString(16).toUpperCase().padStart(4, "0")}`;

/** The number of an entry, when the variable is one. */
function numberOf({ name, vendor }: Variable): number | undefined {
  const match = /^Boot([0-9A-F]{4})$/.exec(name);
  return match === null || vendor !== globalVendor
    ? undefined
    : Number.parseInt(match[1] ?? "", 16);
}

const isOurs = (number: number) => number >= firstNumber && number <= trialNumber;

function numbersIn(variables: readonly Variable[], name: string): number[] {
  const found = variables.find((one) => one.name === name && one.vendor === globalVendor);
  if (found === undefined) return [];
  const view = new DataView(found.data.buffer, found.data.byteOffset, found.data.byteLength);
  return Array.from({ length: found.data.length >> 1 }, (_, at) => view.getUint16(at * 2, true));
}

/** What the variables say about files of ours. */
export function readChoice(variables: readonly Variable[]): BootChoice {
  const files = new Map<number, string>();
  for (const variable of variables) {
    const number = numberOf(variable);
    const file = number === undefined ? undefined : fileOf(variable.data);
    if (number !== undefined && file !== undefined) files.set(number, file);
  }
  const order = numbersIn(variables, "BootOrder").flatMap((number) => files.get(number) ?? []);
  const [number] = numbersIn(variables, "BootNext");
  const next = number === undefined ? undefined : files.get(number);
  return next === undefined ? { order } : { order, next };
}

/** The variables with `choice` in place of the former one; what is not ours stays. */
export function withChoice(variables: readonly Variable[], choice: BootChoice): Variable[] {
  const order = [...new Set(choice.order)].map((file, at) => ({ file, number: firstNumber + at }));
  const entries = choice.next === undefined
    ? order
    : [...order, { file: choice.next, number: trialNumber }];
  const global = (name: string, data: Uint8Array<ArrayBuffer>): Variable => ({
    name,
    vendor: globalVendor,
    attributes: bootAttributes,
    time: 0n,
    data,
  });
  const list = (numbers: readonly number[]) => {
    const bytes = new Uint8Array(numbers.length * 2);
    const view = new DataView(bytes.buffer);
    for (const [at, number] of numbers.entries()) view.setUint16(at * 2, number, true);
    return bytes;
  };
  const kept = variables.filter((variable) => {
    if (variable.vendor !== globalVendor) return true;
    if (variable.name === "BootOrder" || variable.name === "BootNext") return false;
    const number = numberOf(variable);
    return number === undefined || !isOurs(number);
  });
  const others = numbersIn(variables, "BootOrder").filter((number) => !isOurs(number));
  return [
    ...kept,
    ...entries.map(({ file, number }) => global(nameOf(number), loadOption(file))),
    global("BootOrder", list([...order.map(({ number }) => number), ...others])),
    ...(choice.next === undefined ? [] : [global("BootNext", list([trialNumber]))]),
  ];
}
