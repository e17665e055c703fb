/**
 * The types of EC2's operations as they travel over the bus: the official SDK's own types, with what
 * JSON cannot carry put in text. Types only: nothing of the SDK is loaded at run time.
 *
 * The gateway's codec has checked that an input has this shape (no unknown, missing or malformed
 * parameter); ranges, ids and states are the handler's to check.
 */
import type * as Ec2 from "@aws-sdk/client-ec2";

type Sdk = typeof Ec2;

/** Every operation of EC2. */
export type ActionName = {
  [Name in keyof Sdk]: Name extends `${infer Action}Command` ? Action : never;
}[keyof Sdk];

type SdkCommand<Action extends ActionName> = Sdk[`${Action}Command`] extends
  { new (...args: infer Arguments): infer Command }
  ? { input: Arguments extends [infer Input, ...unknown[]] ? Input : never; command: Command }
  : never;

type SdkOutput<Command> = Command extends
  { resolveMiddleware(...args: never[]): (...args: never[]) => Promise<infer Result> }
  ? Result extends { output: infer Output } ? Output : never
  : never;

/** `Date` as an ISO 8601 string, bytes as base64, everything else as it is. */
export type Wire<T> = T extends Date | Uint8Array ? string
  : T extends readonly (infer Element)[] ? Wire<Element>[]
  : T extends object ? { [Member in keyof T]: Wire<T[Member]> }
  : T;

/** Text wherever AWS has an enumeration: records and answers are written in plain strings. */
export type Loose<T> = T extends string ? string
  : T extends readonly (infer Element)[] ? Loose<Element>[]
  : T extends object ? { [Member in keyof T]: Loose<T[Member]> }
  : T;

/** What a record of EC2's `T` is made of. */
export type Shape<T> = Loose<Wire<T>>;

type OptionalKey<T, Key extends keyof T> = Partial<Pick<T, Key>> extends Pick<T, Key> ? true
  : false;

/** Members that the schema requires are there: the SDK's types say `| undefined` even of those. */
type Validated<T> = T extends readonly (infer Element)[] ? Validated<Element>[]
  : T extends object ? {
      readonly [Key in keyof T]: OptionalKey<T, Key> extends true ? Validated<T[Key]>
        : Validated<Exclude<T[Key], undefined>>;
    }
  : T;

/** What a handler of `Action` is given. */
export type Input<Action extends ActionName> = Validated<Wire<SdkCommand<Action>["input"]>>;

/** What a handler of `Action` answers. */
export type Output<Action extends ActionName> = Wire<
  Omit<SdkOutput<SdkCommand<Action>["command"]>, "$metadata">
>;

/** Shapes that many operations share. */
export type Filter = Validated<Wire<Ec2.Filter>>;
export type Tag = Wire<Ec2.Tag>;
export type TagSpecification = Validated<Wire<Ec2.TagSpecification>>;
export type { Ec2 };
