/**
 * Takes secrets out of text before it leaves the machine, in two ways at once: the node's own secrets by
 * their value, in every spelling that a log may have, and whatever looks like a secret by its form or by
 * the name before it. It errs on the side of taking too much: a checksum lost is no loss, a key kept is.
 */
import { join } from "node:path";
import { readSeed } from "../../../services/cluster/seed.ts";

const mark = "[redacted]";
/** Shorter values would blank half of every log. */
const shortestSecret = 12;

/** Text of this form is a secret wherever it stands. */
const forms: readonly RegExp[] = [
  // Private keys, also where line ends are written as \n.
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  // nkey seeds: SU, SA, SO, SN, SC and the rest of base32.
  /\bS[UAONCX][A-Z2-7]{56}\b/g,
  // JSON web tokens, as NATS and others use them.
  /\beyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*/g,
  // 32 bytes in base64: master keys, HMAC keys.
  /(?<![A-Za-z0-9+/_-])[A-Za-z0-9+/_-]{43}=(?![A-Za-z0-9+/=])/g,
  // Secret access keys: 40 letters with both cases and a digit; sums of files have one case only.
  /(?<![A-Za-z0-9+/=_.-])(?=[A-Za-z0-9+/]*[a-z])(?=[A-Za-z0-9+/]*[A-Z])(?=[A-Za-z0-9+/]*\d)[A-Za-z0-9+/]{40}(?![A-Za-z0-9+/=_.-])/g,
];

const secretNames = [
  "secret(?:_?access)?(?:_?key)?",
  "aws_?secret_?access_?key",
  "aws_?session_?token",
  "session_?token",
  "security_?token",
  "client_?token_?secret",
  "pass(?:word|wd|phrase)?",
  "(?:auth|join|access|refresh|bearer|claim|login|csrf|api)_?(?:token|code|key(?!_?id))",
  "token",
  "private_?key",
  "key_?material",
  "master_?key",
  "seed",
  "user_?data",
  "cookie",
  "set-cookie",
  "authorization",
  "proxy-authorization",
  "x-amz-(?:signature|security-token|credential|server-side-encryption-customer-key)",
  "signature",
  "chpasswd",
].join("|");

/** `name: value`, `name=value`, `"name":"value"`, `--name value`, `&name=value`, in JSON in JSON too. */
const named: readonly [RegExp, string][] = [
  // In quotes, escaped or not; the value ends where its own kind of quote does.
  [
    new RegExp(
      `((?:\\\\*["'])[\\w.-]*(?:${secretNames})[\\w.-]*(?:\\\\*["'])\\s*:\\s*)(\\\\*)(["'])(?:(?!\\2\\3)[^\\n])*\\2\\3`,
      "gi",
    ),
    `$1$2$3${mark}$2$3`,
  ],
  [
    new RegExp(
      `((?:^|[\\s?&;,{(\\["'])[\\w.-]*(?:${secretNames})\\s*[=:]\\s*)(?!\\[redacted\\])(?:Bearer |Basic |AWS4-HMAC-SHA256 [^\\n"]*|"[^"\\n]*"|'[^'\\n]*'|)[^\\s&"',;)}\\]]*`,
      "gim",
    ),
    `$1${mark}`,
  ],
  [
    new RegExp(`(--[\\w-]*(?:${secretNames})[ =])(?!\\[redacted\\])\\S+`, "gi"),
    `$1${mark}`,
  ],
  // In quotes as a whole, in quotes behind the name, in braces, or one word.
  [
    /("systemd\.set_credential(?:_binary)?=[^:"\s]*:)[^"]*|(systemd\.set_credential(?:_binary)?="?[^:"\s]*:)(?:(?<="[^"\s]*)[^"\n]*|\{[^}\n]*\}?|\S*)/g,
    `$1$2${mark}`,
  ],
  [/\b(Bearer|Basic) [A-Za-z0-9+/_.=~-]{8,}/g, `$1 ${mark}`],
  [/(AWS4-HMAC-SHA256 Credential=)[^\n"]*/g, `$1${mark}`],
  [/(:\/\/[^\s/:@"']*:)[^\s/@"']+@/g, `$1${mark}@`],
];

/** Every spelling in which a value may stand in a text. */
function spellings(value: string): string[] {
  const json = JSON.stringify(value).slice(1, -1);
  const bytes = new TextEncoder().encode(value);
  return [
    ...new Set([
      value,
      json,
      JSON.stringify(json).slice(1, -1),
      encodeURIComponent(value),
      bytes.toBase64(),
      bytes.toBase64({ omitPadding: true }),
      bytes.toHex(),
    ]),
  ].filter((one) => one.length >= shortestSecret);
}

export class Redactor {
  readonly #values = new Set<string>();

  /** Makes a value known as a secret; also each of its lines, and what base64 it may be. */
  add(secret: string): void {
    const whole = secret.trim();
    const pieces = [whole, ...whole.split("\n").map((line) => line.trim())];
    for (const piece of pieces) {
      if (piece.length < shortestSecret || /^-----(BEGIN|END)/.test(piece)) continue;
      for (const spelling of spellings(piece)) this.#values.add(spelling);
      if (/^[A-Za-z0-9+/]+={0,2}$/.test(piece)) {
        try {
          this.#values.add(Uint8Array.fromBase64(piece).toHex());
        } catch {
          // It only looked like base64.
        }
      }
    }
  }

  redact(text: string): string {
    let out = text;
    // The longest first: a value may stand within another.
    for (const value of [...this.#values].sort((a, b) => b.length - a.length)) {
      out = out.replaceAll(value, mark);
    }
    for (const form of forms) out = out.replace(form, mark);
    for (const [pattern, replacement] of named) out = out.replace(pattern, replacement);
    return out;
  }
}

/** What of a node's files is secret: all below `secrets/`, private keys, credentials. */
const secretFiles = /^secrets\/|\.key$|\.seed$|^aws\/|credential|passw|token|mulga\.yaml$/i;
/** What the first boot and the claim hand to each other: here only some members are. */
const handedFiles = /^cluster\/[\w-]+\.json$|^identity\/admin-key\.json$/;
const secretMember = /^(secret_access_key|token)$/;
const largestSecretFile = 1 << 20;

/** Adds the members of that name, however deep they stand. */
function addMembers(redactor: Redactor, text: string): void {
  try {
    JSON.parse(text, (name, value) => {
      if (secretMember.test(name) && typeof value === "string") redactor.add(value);
      return value;
    });
  } catch {
    // Damaged: what stands in it is not read by anybody else either.
  }
}

/** A seed that came as a credential of the system. */
const systemCredentials = "/run/credentials/@system";

/** A redactor that knows every secret file below a data directory. */
export async function redactorOf(
  root: string,
  credentials = systemCredentials,
): Promise<Redactor> {
  const redactor = new Redactor();
  try {
    const seed = readSeed(await Deno.readFile(join(credentials, "mulga.seed")), "mulga.seed");
    addMembers(redactor, JSON.stringify(seed ?? null));
  } catch {
    // None, or none that was taken.
  }
  const walk = async (below: string) => {
    let entries: Deno.DirEntry[];
    try {
      entries = await Array.fromAsync(Deno.readDir(join(root, below)));
    } catch {
      return;
    }
    for (const entry of entries) {
      const name = below === "" ? entry.name : `${below}/${entry.name}`;
      // Stores of data are neither small nor secret by their name.
      if (entry.isDirectory && !/^(nats|predastore|viperblock|logs|run)$/.test(name)) {
        await walk(name);
      }
      const handed = handedFiles.test(name);
      if (!entry.isFile || !(handed || secretFiles.test(name))) continue;
      const path = join(root, name);
      const size = await Deno.stat(path).then((stat) => stat.size, () => 0);
      if (size > largestSecretFile) continue;
      const text = await Deno.readTextFile(path).catch(() => "");
      if (handed) {
        addMembers(redactor, text);
        continue;
      }
      redactor.add(text);
      // In profiles and seeds: what stands behind the name, by itself.
      for (const [, value] of text.matchAll(/^[ \t-]*[\w.-]+[ \t]*[=:][ \t]*["']?([^"'\n]+)/gm)) {
        redactor.add(value ?? "");
      }
    }
  };
  await walk("");
  return redactor;
}
