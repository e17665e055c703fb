/**
 * The tables of the index.
 *
 * A file of the version before is brought over (`migration.ts`). One of any other counts as unsound, and the index is made
 * again from the segments. `schemaVersion` therefore changes with every change of a table; a new table or index is made when a file that lacks
 * it is opened. The last tables hold what a recovery remembers, and are empty else.
 */
/**
 * Rows of objects and versions stand in the order in which they came, and their keys in an index of their own. In a
 * table that is ordered by key every page on the way to a row is full of rows: the tree is six levels deep with a million
 * keys, and does not fit in the cache.
 */
export const schema = `
create table if not exists meta (name text primary key, value text) without rowid;
create table if not exists buckets (id integer primary key, name text unique, account_id text,
  created_ms integer, region text, sequence integer, objects integer, bytes integer, record blob);
create index if not exists buckets_by_account on buckets (account_id, name);
create table if not exists settings (bucket integer primary key, sequence integer, document text,
  record blob);
create table if not exists objects (bucket integer not null, key blob not null, sequence integer, revision integer,
  version text, marker integer, size integer, modified_ms integer, etag text, checksum text,
  storage_class text, meta text, extents text, record blob, primary key (bucket, key));
create table if not exists versions (bucket integer not null, key blob not null, sequence integer not null, revision integer,
  version text, marker integer, size integer, modified_ms integer, etag text, checksum text,
  storage_class text, meta text, extents text, record blob, primary key (bucket, key, sequence));
create index if not exists versions_without_id on versions (bucket, key, sequence)
  where version is null;
create table if not exists extents (id integer primary key, bucket integer, key blob, size integer,
  k integer, m integer, layout blob, upload text, revision integer, record blob);
create table if not exists uploads (id text primary key, bucket integer, key blob,
  created_ms integer, meta text, checksum text, record blob) without rowid;
create index if not exists uploads_by_key on uploads (bucket, key, id);
create table if not exists parts (upload text, number integer, extent integer, size integer,
  etag text, modified_ms integer, checksum text, sequence integer, record blob,
  primary key (upload, number)) without rowid;
create table if not exists segments (directory integer, segment integer, live integer,
  primary key (directory, segment)) without rowid;
create table if not exists missing (extent integer primary key, shards integer);
create table if not exists suspects (extent integer primary key);
create table if not exists events (id integer primary key autoincrement, body text);
create table if not exists positions (directory integer primary key, segment integer,
  offset integer);
create table if not exists untold (directory integer, sequence integer, type integer, meta blob,
  primary key (directory, sequence)) without rowid;
create table if not exists heard (sequence integer, type integer, meta blob, directories text,
  primary key (sequence, type)) without rowid;
create table if not exists refused (sequence integer primary key, meta blob);
create table if not exists graves (bucket integer, key blob, version text, sequence integer,
  primary key (bucket, key, version)) without rowid;
create table if not exists gone (id text primary key) without rowid;
create table if not exists replayed (extent integer primary key);
`;

/** The name of each table. */
export const tables: readonly string[] = [
  ...schema.matchAll(/create table if not exists (\w+)/g),
].map(([, name]) => name as string);

export const schemaVersion = "5";
