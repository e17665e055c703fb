/** What AWS has named for long and does for nobody who begins today: torrents, and queries inside objects. */
import { AwsError } from "../../aws/errors.ts";
import { ownBucket, type S3Call } from "./call.ts";
import { methodNotAllowed } from "./selectors.ts";

const withdrawn = (kind: string) => (call: S3Call): never => {
  ownBucket(call);
  throw methodNotAllowed(kind, []);
};

export const getObjectTorrent = withdrawn("TORRENT");
export const selectObjectContent = withdrawn("SELECT");

export const torrentOfBucket = () =>
  new AwsError(
    "RequestTorrentOfBucketError",
    "Requesting the torrent file of a bucket is not permitted.",
  );
