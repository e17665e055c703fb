/** PostObject: a browser's form with a file, as the signed policy in it allows. */
import { incomingBody, largestPut_bytes, usualChecksum } from "./body.ts";
import { accessDenied, DetailedError, invalidArgument, ownBucket, type S3Call } from "./call.ts";
import { checkKey } from "./target.ts";
import { newObject, storedHeaders } from "./put_object.ts";
import { locationOf } from "./location.ts";
import { permissionsOf } from "./permissions.ts";
import { readForm } from "./post_form.ts";
import { checkPolicy, type LengthRange } from "./post_policy.ts";
import { type FormSignature, isSignedForm, neededField, verifyForm } from "./post_signature.ts";
import { rawBody } from "./raw_body.ts";
import { quoted } from "./answer_parts.ts";
import { queryOfTags, tagsOfDocument } from "./tagging.ts";
import { userMetadata } from "./user_metadata.ts";
import { element, xmlResponse } from "./xml.ts";

/** Fields that mean what a header of the same name would. */
const asHeader =
  /^(content-type|content-encoding|content-disposition|content-language|cache-control|expires|acl|x-amz-(storage-class|website-redirect-location|server-side-encryption.*|object-lock-.*|checksum-.*|sdk-checksum-algorithm))$/;

function headersOf(fields: ReadonlyMap<string, string>): Headers {
  const headers = new Headers();
  for (const [name, value] of fields) {
    if (!asHeader.test(name) || value === "") continue;
    try {
      headers.set(name === "acl" ? "x-amz-acl" : name, value);
    } catch {
      throw invalidArgument(`The value of the field ${name} is not valid.`);
    }
  }
  const tagging = fields.get("tagging");
  if (tagging !== undefined) headers.set("x-amz-tagging", queryOfTags(tagsOfDocument(tagging)));
  return headers;
}

export async function postObject(call: S3Call): Promise<Response> {
  const form = await readForm(call.headers.get("content-type") ?? "", rawBody(call));
  const { fields } = form;
  const signed = isSignedForm(fields) ? await verifyForm(fields, call.lookup) : unsigned(call);
  const key = neededField(fields, "key");
  const range: LengthRange = isSignedForm(fields)
    ? checkPolicy(
      neededField(fields, "policy"),
      new Map([...fields, ["bucket", call.bucket]]),
      Date.now(),
    )
    : { least_bytes: 0, most_bytes: Infinity };
  checkKey(key);
  const headers = headersOf(fields);
  const target = { bucket: call.bucket, key, query: new URLSearchParams() };
  for (const permission of permissionsOf("PutObject", target, headers)) {
    if (!await call.mayAs(signed, permission, headers)) throw accessDenied();
  }
  const as: S3Call = {
    ...call,
    key,
    headers,
    account_id: signed.grant.account_id,
    verified: {
      grant: signed.grant,
      scope: signed.scope,
      signed_headers: [],
      presigned: false,
      payload_hash: undefined,
      signature: "",
      amz_date: signed.amz_date,
      signing_key: signed.signing_key,
    },
  };
  const bucket = ownBucket(as);
  const most = Math.min(range.most_bytes, largestPut_bytes);
  const options = {
    ...newObject(as, bucket),
    user: userMetadata(fields),
    ...usualChecksum(as),
  };
  using body = incomingBody(as, options, within(form.file, most));
  const { finish } = body;
  const stored = await call.store.objects.put(
    bucket,
    key,
    {
      ...body,
      finish: async (size) => {
        if (size < range.least_bytes) {
          throw new DetailedError(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
            {
              elements: {
                ProposedSize: String(size),
                MinSizeAllowed: String(range.least_bytes),
              },
            },
          );
        }
        return await finish(size);
      },
    },
    undefined,
    "Post",
  );
  return answer(call, fields, key, storedHeaders(bucket, key, stored, headers), stored.etag);
}

/** A form without a policy is what it is: nobody's, who may what the bucket's policy lets everybody. */
function unsigned({ verified }: S3Call): FormSignature {
  if (verified === undefined) throw accessDenied();
  return verified;
}

async function* within(file: AsyncIterable<Uint8Array>, most: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of file) {
    size += chunk.length;
    if (size > most) {
      throw new DetailedError(
        "EntityTooLarge",
        "Your proposed upload exceeds the maximum allowed size",
        { elements: { ProposedSize: String(size), MaxSizeAllowed: String(most) } },
      );
    }
    yield chunk;
  }
}

function answer(
  call: S3Call,
  fields: ReadonlyMap<string, string>,
  key: string,
  headers: Headers,
  etag: string,
): Response {
  const location = locationOf(call, key);
  headers.set("location", location);
  const redirect = fields.get("success_action_redirect") ?? fields.get("redirect");
  const to = redirect === undefined ? null : URL.parse(redirect);
  if (to !== null && /^https?:$/.test(to.protocol)) {
    to.searchParams.set("bucket", call.bucket);
    to.searchParams.set("key", key);
    to.searchParams.set("etag", quoted(etag));
    headers.set("location", to.href);
    return new Response(null, { status: 303, headers });
  }
  const status = Number(fields.get("success_action_status") ?? 204);
  if (status !== 201) return new Response(null, { status: status === 200 ? 200 : 204, headers });
  const made = xmlResponse("PostResponse", [
    element("Location", location),
    element("Bucket", call.bucket),
    element("Key", key),
    element("ETag", quoted(etag)),
  ], headers);
  return new Response(made.body, { status: 201, headers: made.headers });
}
