/** What the records hold that say that something is gone. */

/** One version is gone for good; without an id the null version. */
export interface TombstoneMeta {
  readonly bucket: number;
  readonly key: string;
  readonly version?: string;
  readonly lifecycle?: true;
  /** Some directory that may hold what this deletes did not hear of it. */
  readonly partial?: true;
}

/** An upload was given up, or completed: then the record has the number of that which completed it. */
export interface UploadGoneMeta {
  readonly upload: string;
  readonly partial?: true;
  /**
   * It was completed, and nothing of the upload stands in later segments than these, by directory. Empty where a directory
   * was away or may be put back, of which one cannot tell.
   */
  readonly upTo?: Readonly<Record<string, number>>;
}
