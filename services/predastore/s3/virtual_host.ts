/**
 * Buckets as host names: `bucket.s3.region.example` and `bucket.localhost` mean the bucket that a path
 * would name first. Which names are the endpoint's own is not configured: a host is one of a bucket when
 * what is left of its first dots could be one, and what is right of them is the endpoint: `localhost`, or a
 * name that begins with `s3.` or `s3-`.
 */
const bucketName = /^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/;

/** The bucket that a request's authority names, if it names one. */
export function hostBucket(authority: string): string | undefined {
  const host = authority.toLowerCase().replace(/:\d+$/, "").replace(/\.$/, "");
  if (/^[\d.]+$/.test(host) || host.startsWith("[")) return undefined;
  const local = /^(.+)\.localhost$/.exec(host);
  const endpoint = /^(.+?)\.s3[.-]/.exec(`${host}.`);
  const bucket = endpoint?.[1] ?? local?.[1];
  // `s3.localhost` and `s3.region.localhost` are endpoints themselves.
  if (bucket === undefined || /^s3([.-]|$)/.test(bucket)) return undefined;
  return bucketName.test(bucket) ? bucket : undefined;
}

/** The target with its bucket in the path, whichever way the client addressed it. */
export function pathStyle(authority: string, target: string): string {
  const bucket = hostBucket(authority);
  return bucket === undefined ? target : `/${bucket}${target}`;
}
