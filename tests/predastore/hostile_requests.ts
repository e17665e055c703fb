/** Requests that a hostile client might send: of the right form often enough to get past the first check, and wrong anywhere. */
import type { Random } from "../kit/random.ts";
import { hostileKeys } from "./hostile_keys.ts";
import type { Sent } from "./open_door.ts";

/** What is there to be named. */
export interface Known {
  readonly versionId: string;
  readonly uploadId: string;
}

const buckets = [
  "first",
  "first",
  "first",
  "locked",
  "locked",
  "new-bucket",
  "no",
  "A_B",
  "%00",
  "..",
  "xn--a",
  "",
];
const keys = [
  "key",
  "key",
  "key",
  "large",
  "parts",
  "parts",
  "%00",
  "%01%7f",
  "%EF%BF%BE",
  "%F0%9F%A6%98",
  "..",
  "/",
  "a//b",
  "%2e%2e%2f",
  "%ff",
  "%zz",
  "x".repeat(1024),
  "x".repeat(1025),
  "__proto__",
  "constructor",
  "a+b%20c",
  "%3C%26%3E",
  "%0d%0a",
  "",
  "",
  "",
];
const values = [
  "",
  "0",
  "1",
  "2",
  "-1",
  "1000",
  "10000",
  "10001",
  "2147483647",
  "2147483648",
  "9007199254740993",
  "1e9",
  "NaN",
  "0x10",
  "true",
  "false",
  "*",
  "/",
  "key",
  "null",
  "url",
  "v1",
  "%00",
  "%FF%FE",
  "%F0%9F%A6%98",
  "2",
  "abc",
  "x".repeat(1500),
  "AAAAAAAAAAA=",
  "__proto__",
  "toString",
  "2026-01-01T00:00:00Z",
  "Thu, 01 Jan 1970 00:00:00 GMT",
  "+275760-09-13T00:00:00.001Z",
  "bytes=0-0",
  "COMPOSITE",
  "ENABLED",
];
const subresources = [
  "accelerate",
  "acl",
  "analytics",
  "attributes",
  "cors",
  "delete",
  "encryption",
  "intelligent-tiering",
  "inventory",
  "legal-hold",
  "lifecycle",
  "location",
  "logging",
  "metrics",
  "notification",
  "object-lock",
  "ownershipControls",
  "policy",
  "policyStatus",
  "publicAccessBlock",
  "replication",
  "requestPayment",
  "restore",
  "retention",
  "select",
  "session",
  "tagging",
  "torrent",
  "uploads",
  "versioning",
  "versions",
  "website",
  "metadataTable",
  "renameObject",
  "annotation",
  "abac",
];
const parameters = [
  "prefix",
  "delimiter",
  "marker",
  "max-keys",
  "encoding-type",
  "list-type",
  "continuation-token",
  "start-after",
  "fetch-owner",
  "key-marker",
  "version-id-marker",
  "upload-id-marker",
  "max-uploads",
  "part-number-marker",
  "max-parts",
  "partNumber",
  "versionId",
  "id",
  "uploadId",
  "response-content-type",
  "response-expires",
  "max-buckets",
  "bucket-region",
  "x-amz-acl",
  "x-id",
  "select-type",
];
const headers = [
  "range",
  "if-match",
  "if-none-match",
  "if-modified-since",
  "if-unmodified-since",
  "if-range",
  "content-md5",
  "content-type",
  "content-encoding",
  "expires",
  "cache-control",
  "x-amz-acl",
  "x-amz-grant-read",
  "x-amz-tagging",
  "x-amz-tagging-directive",
  "x-amz-metadata-directive",
  "x-amz-copy-source",
  "x-amz-copy-source-range",
  "x-amz-copy-source-if-match",
  "x-amz-copy-source-if-modified-since",
  "x-amz-checksum-algorithm",
  "x-amz-checksum-type",
  "x-amz-checksum-mode",
  "x-amz-sdk-checksum-algorithm",
  "x-amz-checksum-crc32",
  "x-amz-checksum-crc64nvme",
  "x-amz-checksum-sha256",
  "x-amz-trailer",
  "x-amz-decoded-content-length",
  "content-length",
  "x-amz-storage-class",
  "x-amz-server-side-encryption",
  "x-amz-server-side-encryption-customer-algorithm",
  "x-amz-object-lock-mode",
  "x-amz-object-lock-retain-until-date",
  "x-amz-object-lock-legal-hold",
  "x-amz-bypass-governance-retention",
  "x-amz-bucket-object-lock-enabled",
  "x-amz-object-ownership",
  "x-amz-expected-bucket-owner",
  "x-amz-source-expected-bucket-owner",
  "x-amz-object-attributes",
  "x-amz-max-parts",
  "x-amz-part-number-marker",
  "x-amz-mp-object-size",
  "x-amz-meta-a",
  "x-amz-meta-__proto__",
  "x-amz-website-redirect-location",
  "x-amz-request-payer",
  "x-amz-mfa",
  "x-amz-write-offset-bytes",
  "x-amz-if-match-size",
  "x-amz-if-match-last-modified-time",
  "x-mulga-erasure-code",
  "origin",
  "access-control-request-method",
  "access-control-request-headers",
  "transfer-encoding",
];
const fittingValues: Readonly<Record<string, readonly string[]>> = {
  "content-length": ["0", "-1", "5", "1e3", "99999999999999999999", "x", "5368709121"],
  "range": [
    "bytes=0-0",
    "bytes=-1",
    "bytes=5-",
    "bytes=0-1,3-4",
    "bytes=99999999999999999999-",
    "bytes=-0",
    "bytes=a-b",
  ],
  "x-amz-acl": ["private", "public-read", "bucket-owner-full-control", "x"],
  "x-amz-checksum-algorithm": ["CRC32", "CRC64NVME", "sha256", "MD5"],
  "x-amz-copy-source": [
    "first/key",
    "first/sealed",
    "/first/large",
    "locked/key?versionId=null",
    "first%2Fkey",
    "first",
    "/",
    "%",
    "first/key?versionId=%ff",
  ],
  "x-amz-copy-source-range": ["bytes=0-5", "bytes=5-0", "bytes=0-99999999999999999999"],
  "x-amz-mp-object-size": ["4", "x", "-1"],
  "x-amz-object-attributes": [
    "ETag,Checksum,ObjectParts,StorageClass,ObjectSize",
    "ETag",
    ",",
    "Nonsense",
  ],
  "x-amz-object-lock-mode": ["GOVERNANCE", "COMPLIANCE", "x"],
  "x-amz-object-lock-retain-until-date": [
    "2030-01-01T00:00:00Z",
    "+275760-09-13T00:00:00.001Z",
    "1",
    "x",
  ],
  "x-amz-storage-class": ["STANDARD_IA", "GLACIER", "x"],
  "x-amz-tagging": ["a=b", "a=b&a=c", "=", "%ff=%ff", "a".repeat(200), "aws:a=b"],
  "x-mulga-erasure-code": ["1+0", "2+1", "0+0", "999+999", "-1+-1", "x"],
};
const methods = [
  "GET",
  "GET",
  "GET",
  "HEAD",
  "PUT",
  "PUT",
  "PUT",
  "POST",
  "POST",
  "DELETE",
  "OPTIONS",
  "PATCH",
];

const usualMethods = ["GET", "GET", "PUT", "PUT", "PUT", "HEAD", "DELETE"];
const ofObjects = ["tagging", "retention", "legal-hold", "attributes", "acl"];

const xmlns = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';
/** A document of each kind, as it is right. */
const documents: Readonly<Record<string, string>> = {
  accelerate:
    `<AccelerateConfiguration ${xmlns}><Status>Suspended</Status></AccelerateConfiguration>`,
  acl:
    `<AccessControlPolicy ${xmlns}><Owner><ID>1</ID></Owner><AccessControlList><Grant><Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>1</ID></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>`,
  cors:
    `<CORSConfiguration ${xmlns}><CORSRule><AllowedOrigin>https://*.a</AllowedOrigin><AllowedMethod>GET</AllowedMethod><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>`,
  delete:
    `<Delete ${xmlns}><Object><Key>key</Key></Object><Object><Key>large</Key><VersionId>null</VersionId><ETag>*</ETag></Object><Quiet>false</Quiet></Delete>`,
  encryption:
    `<ServerSideEncryptionConfiguration ${xmlns}><Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256</SSEAlgorithm></ApplyServerSideEncryptionByDefault><BucketKeyEnabled>true</BucketKeyEnabled></Rule></ServerSideEncryptionConfiguration>`,
  "legal-hold": `<LegalHold ${xmlns}><Status>ON</Status></LegalHold>`,
  lifecycle:
    `<LifecycleConfiguration ${xmlns}><Rule><ID>a</ID><Status>Enabled</Status><Filter><And><Prefix>x/</Prefix><Tag><Key>a</Key><Value>b</Value></Tag><ObjectSizeGreaterThan>5</ObjectSizeGreaterThan></And></Filter><Expiration><Days>5</Days></Expiration><NoncurrentVersionExpiration><NoncurrentDays>3</NoncurrentDays><NewerNoncurrentVersions>2</NewerNoncurrentVersions></NoncurrentVersionExpiration><Transition><Days>1</Days><StorageClass>GLACIER_IR</StorageClass></Transition></Rule></LifecycleConfiguration>`,
  logging: `<BucketLoggingStatus ${xmlns}/>`,
  notification:
    `<NotificationConfiguration ${xmlns}><TopicConfiguration><Id>a</Id><Topic>arn:aws:sns:r:1:t</Topic><Event>s3:ObjectCreated:*</Event><Filter><S3Key><FilterRule><Name>prefix</Name><Value>a</Value></FilterRule></S3Key></Filter></TopicConfiguration></NotificationConfiguration>`,
  "object-lock":
    `<ObjectLockConfiguration ${xmlns}><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention></Rule></ObjectLockConfiguration>`,
  ownershipControls:
    `<OwnershipControls ${xmlns}><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>`,
  policy:
    `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"123456789012"},"Action":"s3:*","Resource":"arn:aws:s3:::first/*","Condition":{"StringEquals":{"s3:prefix":"a"}}}]}`,
  publicAccessBlock:
    `<PublicAccessBlockConfiguration ${xmlns}><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>`,
  requestPayment:
    `<RequestPaymentConfiguration ${xmlns}><Payer>BucketOwner</Payer></RequestPaymentConfiguration>`,
  retention:
    `<Retention ${xmlns}><Mode>GOVERNANCE</Mode><RetainUntilDate>2030-01-01T00:00:00Z</RetainUntilDate></Retention>`,
  tagging: `<Tagging ${xmlns}><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>`,
  versioning:
    `<VersioningConfiguration ${xmlns}><Status>Enabled</Status></VersioningConfiguration>`,
  create:
    `<CreateBucketConfiguration ${xmlns}><LocationConstraint>ap-southeast-2</LocationConstraint><Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags></CreateBucketConfiguration>`,
  complete:
    `<CompleteMultipartUpload ${xmlns}><Part><PartNumber>1</PartNumber><ETag>"04b29480233f4def5c875875b6bdc3b1"</ETag></Part></CompleteMultipartUpload>`,
};
const odd = [
  "",
  " ",
  "-1",
  "0",
  "1e400",
  "99999999999999999999",
  "NaN",
  "\u0000",
  "\uffff",
  "&lt;",
  "&#0;",
  "&#x10FFFF;",
  "&#x110000;",
  "&a;",
  "<a/>",
  "<![CDATA[x]]>",
  "<!--x-->",
  '<!DOCTYPE a [<!ENTITY b "c">]>',
  "]]>",
  "x".repeat(3000),
  "2026-13-45",
  "+275760-09-13T00:00:00.001Z",
  "__proto__",
  "Enabled",
  "é",
  "[".repeat(2000),
];

function mutated(random: Random, text: string): string {
  let made = text;
  for (let times = random.below(3); times > 0; times--) {
    const at = random.below(made.length + 1);
    switch (random.below(6)) {
      case 0: // The text of an element is another.
        made = made.replaceAll(
          />([^<>]+)</g,
          (whole) => random.below(3) === 0 ? `>${random.pick(odd)}<` : whole,
        );
        break;
      case 1: // Something stands where nothing stood.
        made = made.slice(0, at) + random.pick(odd) + made.slice(at);
        break;
      case 2: // It is cut off.
        made = made.slice(0, at);
        break;
      case 3: { // An element is there twice, or not at all.
        const again = random.below(2) === 0;
        made = made.replace(/<(\w+)>[^<]*<\/\1>/, (whole) => again ? whole + whole : "");
        break;
      }
      case 4: // Its name is another.
        made = made.replace(
          /<(\w+)>/,
          () => `<${random.pick(["Rule", "__proto__", "a:b", "Key", "Status"])}>`,
        );
        break;
      default:
        made = random.pick(Object.values(documents));
    }
  }
  return made;
}

function valueOf(random: Random, name: string): string {
  const fitting = fittingValues[name];
  return fitting !== undefined && random.below(3) > 0 ? random.pick(fitting) : random.pick(values);
}

export function hostileRequest(random: Random, known: Known): Sent {
  // Every other one names what is there, and asks for it as one does.
  const sensible = random.below(2) === 0;
  let kind = sensible
    ? random.pick([...Object.keys(documents), ...ofObjects, "", "", ""])
    : random.below(2) === 0
    ? random.pick(subresources)
    : "";
  const method = kind === "delete" ? "POST" : random.pick(sensible ? usualMethods : methods);
  const bucket = random.pick(sensible ? ["first", "first", "locked"] : buckets);
  const named = ofObjects.includes(kind) || kind === ""
    ? random.pick(["key", "large", "parts", "sealed"])
    : "";
  const key = sensible ? named : random.pick(keys);
  const query: string[] = [];
  if (kind === "create" || kind === "complete") kind = "";
  if (kind !== "") query.push(kind);
  for (let many = random.below(3); many > 0; many--) {
    query.push(`${random.pick(parameters)}=${encodeURI(random.pick(values))}`);
  }
  if (random.below(6) === 0) query.push(`versionId=${known.versionId}`);
  if (key === "parts" && random.below(2) === 0) {
    query.push(`uploadId=${encodeURIComponent(known.uploadId)}`);
    if (method === "PUT") query.push(`partNumber=${random.pick(["1", "2", "0", "10001", "x"])}`);
    kind = "complete";
  }
  const sent = hostileKeys(random);
  for (let many = random.below(4); many > 0; many--) {
    const name = random.pick(headers);
    sent.push([name, valueOf(random, name)]);
  }
  const target = `/${bucket}${key === "" ? "" : `/${key}`}${
    query.length === 0 ? "" : `?${query.join("&")}`
  }`;
  if (method !== "PUT" && method !== "POST") return { method, target, headers: sent };
  if (kind === "" && method === "PUT" && key === "" && random.below(2) === 0) kind = "create";
  if (kind === "delete" || (kind !== "" && random.below(2) === 0)) {
    // Asked for by many operations; that of an empty body is not looked at here.
    sent.push(["x-amz-checksum-algorithm", "CRC32"]);
  }
  const document = documents[kind];
  const text = document === undefined ? random.pick(odd) : mutated(random, document);
  return { method, target, headers: sent, body: new TextEncoder().encode(text) };
}
