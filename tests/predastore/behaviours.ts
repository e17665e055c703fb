/**
 * What predastore promises, and which tests hold each promise: the matrix in its README is made from this
 * and from the tests themselves. A promise without a test, or a test that is named and not there, is an
 * error.
 *
 * `deno run -A tests/predastore/behaviours.ts` writes the README's matrix anew.
 */
import * as s3 from "@aws-sdk/client-s3";
import { served, withdrawn } from "../../services/predastore/s3/operations.ts";

/** A promise, and words of the names of those tests that hold it. */
type Promised = readonly [what: string, ...tests: readonly RegExp[]];

const promises: Readonly<Record<string, readonly Promised[]>> = {
  "Buckets": [
    ["create, head, list, delete, location; names", /buckets are made, found, listed/],
    [
      "what in a query chooses an operation: one at a time, with its own methods, on a key's path too",
      /^selectors:/,
    ],
    ["versioning and its suspension", /^versioning: every put/, /^versioning: suspended/],
    ["tags", /^tagging of buckets/, /^on the wire: a bucket has the tags/],
    ["CORS, preflight, headers of answers", /^CORS:/],
    [
      "policy, its status, what is public, and what blocks it; weighed by identity, with what a request says",
      /^bucket policy/,
      /^bucket policies/,
      /^a policy is public unless/,
      /^policy actions:/,
    ],
    [
      "anonymous requests: what a public policy lets everybody, also by form",
      /^anonymous requests/,
    ],
    [
      "lifecycle in the background: expiration, and transitions to classes at hand; told in headers",
      /^lifecycle:/,
      /^lifecycle on the wire:/,
      /objects go after their days/,
      /objects go only where/,
      /from a date on objects go/,
      /newest noncurrent versions stay/,
      /with versions, what expires/,
      /delete marker behind which/,
      /what is locked stays/,
      /what is moved by its days/,
    ],
    ["ownership controls, public access block, ACLs", /^public access block/, /^ACLs/],
    [
      "notification configuration; events on NATS of objects, tags, retention and lifecycle, as records or as EventBridge's",
      /^notification:/,
      /^notification events: a configuration/,
      /^notification events: (tags|EventBridge|a destination)/,
      /^events: (a |what |EventBridge)/,
    ],
    [
      "object lock configuration; what is refused where there is none",
      /^object lock: needs a bucket/,
      /^object lock on the wire:/,
    ],
    [
      "encryption configuration; what requests ask of it otherwise",
      /^encryption:/,
      /^encryption on the wire:/,
    ],
    ["an erasure code of its own: asked for, told, set, refused", /^bucket codes:/],
    [
      "what is never configured here: acceleration, logs, payers, websites, replication and their kin; what is wrong with it, and what AWS has withdrawn",
      /^unconfigured:/,
      /^refused configurations:/,
    ],
  ],
  "Objects": [
    [
      "put, get, head: bytes, headers, metadata, content ETag",
      /an object comes back with its bytes/,
      /^user metadata that is no plain text/,
    ],
    [
      "what is asked of objects, and refused: parts, checksums, attributes, lists of what to delete",
      /^questions:/,
    ],
    ["keys of every kind", /keys of every kind/, /a key is every byte/],
    ["copy", /^copies keep or replace/, /^copies: a source may be encoded/],
    ["expected owners of buckets, and of what is copied", /^expected owners:/],
    [
      "storage classes whose objects are at hand: kept, told, changed by a copy",
      /storage classes: /,
    ],
    ["delete, delete many", /many are deleted at once/],
    [
      "list v1 and v2: prefix, delimiter, start, stable tokens, encoding",
      /^listings encode keys/,
      /^on the wire: an encoding of lists/,
      /^lists:/,
      /^listings page by prefix/,
      /^pages of any size/,
      /^a page over many keys/,
    ],
    ["list versions", /ListObjectVersions pages/],
    [
      "delete markers, versions by id",
      /^versioning: a delete marker/,
      /removing the current version/,
      /DeleteObjects takes versions/,
    ],
    [
      "ranges, If-Range; several at once as AWS",
      /^ranges are RFC/,
      /^ranges give exactly/,
      /^multi-range/,
    ],
    [
      "conditional reads and writes",
      /^conditions on reads/,
      /^conditional writes/,
      /^If-Match wins/,
      /^ETags in conditions/,
      /^on the wire: a key deleted since/,
    ],
    ["tags", /^tagging of objects/],
    [
      "GetObjectAttributes; checksums of parts",
      /^GetObjectAttributes/,
      /attributes of parts/,
      /^uploads on the wire: attributes/,
      /checksums of parts are told/,
    ],
    ["presigned URLs", /^presigned URLs/, /expired or changed presigned/],
    ["POST form upload", /^form upload:/],
    [
      "retention and legal hold",
      /^object lock: retention/,
      /^object lock: a legal hold/,
      /^object lock: a bucket's default/,
    ],
    [
      "path-style and virtual-host addressing",
      /^virtual-host addressing/,
      /^a host names a bucket/,
    ],
  ],
  "Multipart": [
    [
      "create, part, list, complete with checks (also again), abort",
      /completes again what was completed/,
      /^multipart uploads are checked/,
      /^uploads on the wire: (a part|checksums of|the checksum of|the size|where an|who completes)/,
      /^a multipart object is its parts/,
    ],
    ["part copy", /^parts are copied from/, /part copy of ranges/],
    ["10,000 parts and not one more", /ten thousand parts/],
    ["whole-object checksums from those of parts", /whole-object CRC/, /CRC of two runs/],
  ],
  "Checksums and bodies": [
    [
      "CRC32, CRC32C, CRC64NVME, SHA-1, SHA-256, SHA-512, MD5, xxHash: header, trailer, composite, whole",
      /every checksum algorithm/,
      /^uploads on the wire: (MD5|xxHashes|a later kind|a checksum's header)/,
      /CRCs have the catalogue/,
      /^on the wire: an algorithm that/,
    ],
    [
      "CRC-64/NVME of what comes without a checksum",
      /^default checksums:/,
      /^on the wire: parts may bring another/,
      /^long runs are folded/,
    ],
    [
      "aws-chunked, signed and unsigned, with trailers; what is wrong with it in AWS's words",
      /^aws-chunked:/,
      /stream of unknown content/,
      /signed upload of the S3 documentation/,
      /signed trailer/,
      /trailer of an unsigned body/,
    ],
    [
      "a body that is not what it claims stores nothing",
      /^a failed body stores nothing/,
      /upload that is cut off/,
    ],
  ],
  "Encryption at rest": [
    [
      "SSE-S3: AES-256-GCM, a key for each object, under the master key",
      /^encryption:/,
      /^sealed objects of every size/,
      /^parts of an upload share/,
      /^nothing of a sealed object/,
    ],
    [
      "SSE-C: keys that clients bring, for objects, versions, parts, copies and forms; a bucket may refuse them",
      /^customer keys:/,
      /^form upload: a client's own key/,
    ],
  ],
  "Bad input": [
    [
      "bad signatures, clock skew, other accounts",
      /^another account gets/,
      /^signatures:/,
      /^S3.s claims:/,
      /malformed claim has AWS's own/,
    ],
    [
      "no length, too long, headers over limits, too many idle connections",
      /body without a length/,
      /body over 5 GiB/,
      /headers over limits/,
      /idle connections/,
    ],
    ["errors in S3's own form, with their details", /^errors tell their details/],
    ["bad XML, bad keys, bad methods", /hostile XML/, /keys that are no UTF-8/],
    [
      "headers and parameters that a request cannot have, or not so, in S3's words",
      /^headers:/,
      /^parameters:/,
      /^payload forms:/,
    ],
    [
      "random requests to every operation, with anything in targets, headers and documents: no fault of ours",
      /^hostile requests:/,
    ],
    [
      "random aws-chunked bodies over TLS: stored as they were meant or not at all",
      /^hostile bodies:/,
    ],
    [
      "what a refusal tells besides its code: elements that clients show",
      /^refusals tell/,
      /^form upload: what a refusal tells/,
    ],
    [
      "what is not served says so by its name: operations, storage classes that need a restore, KMS's keys, lifecycle transitions to classes that need a restore, SigV4A",
      /what is not served is refused/,
      /asks for something that is not served/,
      /goes by its own name/,
      /^on the wire: a delete whose/,
      /^on the wire: a copy that is asked/,
      /^on the wire: a bucket of an account's/,
      /^on the wire: what is not served of an object/,
    ],
    [
      "encodings, names of other kinds of buckets, parts without their checksum, version ids where none is taken: as on the wire at AWS",
      /^on the wire: Content-Encoding/,
      /^on the wire: names that are kept/,
      /^on the wire: a part (of an upload|tells only)/,
      /^on the wire: a (delete marker that|version of a copy)/,
      /^on the wire: an object's ACL/,
      /^on the wire: what makes a version/,
      /^on the wire: times are told/,
    ],
    [
      "uploads that trickle hold nobody up, and are cut off when they stop",
      /uploads that trickle/,
      /body that stops/,
    ],
    [
      "what is under way when the service stops comes to its end",
      /told to stop is stored/,
    ],
  ],
  "Storage": [
    ["Reed-Solomon of any k + m", /shards of RS/, /objects of every size read back/],
    [
      "buckets of different codes in one store: reads, repair, scrub, fsck, compaction, the index made again",
      /^codes:/,
      /^bucket codes:/,
    ],
    [
      "a directory that was away while the index was made again: taken for no other, and undoes no deletion",
      /no directory gets the number/,
      /deleted while a directory was away/,
      /deleted after a directory was replaced/,
    ],
    [
      "a directory vanishes, comes back empty, is full of flipped bits, truncated, zeroed, swapped, or has lost its files: made whole again",
      /a directory that \$\{what\} is made whole/,
      /every byte is read, and written/,
      /swapped|another directory's file replaced/,
    ],
    ["… to a running store", /came back empty to a running store/],
    ["… comes back stale", /comes back stale/],
    ["… is full", /directory that is full/],
    ["… does not answer", /does not answer delays no read/],
    [
      "100 clients notice nothing of a directory that goes; fsck then tells of full redundancy",
      /a hundred clients notice nothing/,
    ],
    ["scrub with age; hive s3 status, scrub, fsck", /scrub that was broken off/, /hive s3 tells/],
    [
      "compaction",
      /compaction gives dead space back/,
      /compaction while clients/,
      /reader that began before compaction/,
    ],
    ["the index is made again from the segments", /index is rebuilt whole/],
    [
      "near full and full with hysteresis; refusals harm nothing",
      /nearly full before it is full/,
      /without room above its reserve/,
    ],
  ],
  "Consistency": [
    [
      "every crash point of put, overwrite, delete, multipart completion, tagging, moves to another class, compaction",
      /^a crash at any operation/,
    ],
    ["random crash schedules", /^random histories/, /^once lost/],
    ["kill -9 of the process", /survives kill -9/, /after the process died/],
    ["concurrent writers of one key leave one whole object", /one of many writers/],
    ["events: at least once, in order for each key", /^notification: events/, /^events: new tags/],
  ],
  "Clients": [
    ["JavaScript SDK", /JavaScript SDK finds/],
    ["AWS CLI, aws s3 sync", /AWS CLI copies/, /aws s3 sync of a tree/, /aws s3api knows/],
    ["s3cmd", /^clients: s3cmd/],
    ["rclone", /^clients: rclone/, /so does rclone$/],
    ["through the gateway", /pass through the gateway/],
  ],
};

const root = new URL("../../", import.meta.url);
const folders = [
  "services/predastore/",
  "services/aws/",
  "tests/predastore/",
  "tests/gateway/",
  "tests/sim/",
  "tests/soak/",
];

/** In the order of their names: that of a directory is each file system's own. */
async function testFiles(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(new URL(folder, root))) {
    if (isDirectory) found.push(...await testFiles(`${folder}${name}/`));
    else if (name.endsWith("_test.ts")) found.push(folder + name);
  }
  return found.sort();
}

/** Names of tests and of their steps, with the file that each is in. */
async function testNames(): Promise<(readonly [name: string, file: string])[]> {
  const found: (readonly [string, string])[] = [];
  const patterns = [
    /Deno\.test\(\s*["`]([^"`]+)["`]/g,
    /\bname:\s*["`]([^"`]+)["`],\n/g,
    /\bt\.step\(\s*["`]([^"`]+)["`]/g,
    /^ {4,8}"([^"\n]{12,})": async/gm,
  ];
  for (const folder of folders) {
    for (const file of await testFiles(folder)) {
      const text = await Deno.readTextFile(new URL(file, root));
      for (const pattern of patterns) {
        for (const match of text.matchAll(pattern)) found.push([match[1] ?? "", file]);
      }
    }
  }
  return found;
}

/** Every operation that S3 has, by the official client's own schemas. */
function allOperations(): string[] {
  return Object.keys(s3).filter((name) => name.endsWith("Command") && name !== "$Command")
    .map((name) => name.slice(0, -"Command".length));
}

/** The matrix as it stands in the README. @throws when a promise has no test */
export async function matrix(): Promise<string> {
  const names = await testNames();
  const rows: string[] = ["| Behaviour | Held by |", "|---|---|"];
  for (const [area, list] of Object.entries(promises)) {
    rows.push(`| **${area}** | |`);
    for (const [what, ...tests] of list) {
      const files = new Map<string, number>();
      for (const test of tests) {
        const matching = names.filter(([name]) => test.test(name));
        if (matching.length === 0) throw new Error(`"${what}" is held by no test (${test})`);
        for (const [, file] of matching) files.set(file, (files.get(file) ?? 0) + 1);
      }
      const held = [...files].map(([file, count]) =>
        `\`${file}\`${count > 1 ? ` (${count})` : ""}`
      );
      rows.push(`| ${what} | ${held.join(", ")} |`);
    }
  }
  const operations = allOperations();
  const gone = Object.keys(withdrawn).sort();
  const unserved = operations.filter((name) => !Object.hasOwn(served, name) && !gone.includes(name))
    .sort();
  const known = operations.length - unserved.length - gone.length;
  return [
    ...rows,
    "",
    `Of the ${operations.length} operations of Amazon's client ${known} are served, and PostObject besides.`,
    `Withdrawn by AWS, and refused as it refuses them: ${gone.join(", ")}.`,
    `\`NotImplemented\` by their names: ${unserved.join(", ")}.`,
  ].join("\n");
}

export const readme = new URL("services/predastore/README.md", root);
const begin = "<!-- matrix: made by tests/predastore/behaviours.ts -->";
const end = "<!-- end of matrix -->";

/** The README with this matrix. */
export function withMatrix(text: string, made: string): string {
  const from = text.indexOf(begin);
  const to = text.indexOf(end);
  if (from < 0 || to < from) throw new Error("the README has no place for the matrix");
  return `${text.slice(0, from + begin.length)}\n\n${made}\n\n${text.slice(to)}`;
}

if (import.meta.main) {
  await Deno.writeTextFile(readme, withMatrix(await Deno.readTextFile(readme), await matrix()));
}
