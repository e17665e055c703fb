/** What a sub-command of `hive` is. */
export interface HiveCommand {
  /** As typed after `hive`. */
  readonly words: readonly string[];
  readonly summary: string;
  run(args: readonly string[]): Promise<number | void>;
}
