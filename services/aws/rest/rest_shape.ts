/**
 * The compiled form of the schemas for REST: where each member of a message is on the wire (path,
 * query, header, status, payload or body), and what it is called in JSON and in XML.
 *
 * As in `shape.ts`, structures are compiled once, when first met, and members reach their shape
 * through a getter, since shapes may be recursive. Bindings count on the top level of a message only.
 */
import { isFractional } from "../schema/fractional.ts";
import { NormalizedSchema, type SchemaRef } from "../schema/smithy_schema.ts";

export type TimestampFormat = "date-time" | "http-date" | "epoch-seconds";

export interface RestScalar {
  readonly kind: "string" | "boolean" | "integer" | "number" | "blob";
}

export interface RestTimestamp {
  readonly kind: "timestamp";
  /** Nothing where the place of the value decides. */
  readonly format: TimestampFormat | undefined;
}

export interface RestList {
  readonly kind: "list";
  readonly item: RestShape;
  readonly xml_item: string;
  readonly flattened: boolean;
}

export interface RestMap {
  readonly kind: "map";
  readonly value: RestShape;
  readonly key_name: string;
  readonly value_name: string;
  readonly flattened: boolean;
}

export type Binding =
  | { readonly in: "body" }
  | { readonly in: "path" }
  | { readonly in: "query"; readonly name: string }
  | { readonly in: "queries" }
  | { readonly in: "header"; readonly name: string }
  | { readonly in: "headers"; readonly prefix: string }
  | { readonly in: "payload"; readonly streaming: boolean; readonly media_type: string | undefined }
  | { readonly in: "status" };

export interface RestMember {
  /** As handlers and the SDK call it. */
  readonly name: string;
  readonly json_name: string;
  readonly xml_name: string;
  /** Its element where it is a document of its own and not called as its structure. */
  readonly xml_root: string | undefined;
  readonly xml_attribute: boolean;
  /** ` xmlns:xsi="…"` for the element, or nothing. */
  readonly xml_namespace: string;
  readonly required: boolean;
  readonly binding: Binding;
  readonly shape: RestShape;
}

export interface RestStructure {
  readonly kind: "structure";
  readonly name: string;
  /** Its element where it is a document of its own. */
  readonly root_name: string;
  /** Exactly one member is set. */
  readonly union: boolean;
  readonly members: readonly RestMember[];
  readonly by_json_name: ReadonlyMap<string, RestMember>;
  readonly by_xml_name: ReadonlyMap<string, RestMember>;
}

export type RestShape = RestScalar | RestTimestamp | RestList | RestMap | RestStructure;

/** A whole request or answer. */
export interface RestMessage {
  readonly members: readonly RestMember[];
  readonly payload: RestMember | undefined;
  /** The members that make up the JSON or XML document, where there is no payload member. */
  readonly body: RestStructure | undefined;
  /** Not a document but a sequence of events, which these codecs do not speak. */
  readonly event_stream: boolean;
}

const scalar = (kind: RestScalar["kind"]): RestScalar => ({ kind });

/** A timestamp's schema is a number that may name its format. */
const formats: ReadonlyMap<unknown, TimestampFormat> = new Map([
  [5, "date-time"],
  [6, "http-date"],
  [7, "epoch-seconds"],
]);

type Traits = ReturnType<NormalizedSchema["getMergedTraits"]>;

function bindingOf(of: NormalizedSchema, traits: Traits): Binding {
  if (traits.httpLabel) return { in: "path" };
  if (traits.httpQuery !== undefined) return { in: "query", name: traits.httpQuery };
  if (traits.httpQueryParams) return { in: "queries" };
  if (traits.httpHeader !== undefined) {
    return { in: "header", name: traits.httpHeader.toLowerCase() };
  }
  if (traits.httpPrefixHeaders !== undefined) {
    return { in: "headers", prefix: traits.httpPrefixHeaders.toLowerCase() };
  }
  if (traits.httpResponseCode) return { in: "status" };
  if (!traits.httpPayload) return { in: "body" };
  return { in: "payload", streaming: of.isStreaming(), media_type: traits.mediaType };
}

class CompiledMember implements RestMember {
  readonly json_name: string;
  readonly xml_name: string;
  readonly xml_root: string | undefined;
  readonly xml_attribute: boolean;
  readonly xml_namespace: string;
  readonly binding: Binding;
  #shape: RestShape | undefined;
  readonly #make: () => RestShape;

  constructor(
    readonly name: string,
    of: NormalizedSchema,
    readonly required: boolean,
    make: () => RestShape,
  ) {
    const traits = of.getMergedTraits();
    this.binding = bindingOf(of, traits);
    this.json_name = traits.jsonName ?? name;
    this.xml_name = of.getMemberTraits().xmlName ?? name;
    this.xml_root = traits.xmlName;
    this.xml_attribute = Boolean(traits.xmlAttribute);
    const [prefix, uri] = traits.xmlNamespace ?? [];
    // The document's own default namespace is on its root.
    this.xml_namespace = prefix && uri ? ` xmlns:${prefix}="${uri}"` : "";
    this.#make = make;
  }

  get shape(): RestShape {
    return this.#shape ??= this.#make();
  }
}

function structureOf(
  name: string,
  root_name: string,
  union: boolean,
  members: readonly RestMember[],
): RestStructure {
  return {
    kind: "structure",
    name,
    root_name,
    union,
    members,
    by_json_name: new Map(members.map((member) => [member.json_name, member])),
    by_xml_name: new Map(members.map((member) => [member.xml_name, member])),
  };
}

/** Compiles the schemas of one service; structures are shared, so keep one per service. */
export class RestCompiler {
  readonly #structures = new Map<string, RestStructure>();

  /** An operation's input or output; nothing where it has none. */
  message(schema: SchemaRef): RestMessage | undefined {
    const of = NormalizedSchema.of(schema);
    if (!of.isStructSchema()) return undefined;
    const { name, root_name, members } = this.#structure(of);
    const inBody = members.filter((member) => member.binding.in === "body");
    return {
      members,
      payload: members.find((member) => member.binding.in === "payload"),
      body: inBody.length === 0 ? undefined : structureOf(name, root_name, false, inBody),
      event_stream: of.getEventStreamMember() !== "",
    };
  }

  #structure(of: NormalizedSchema): RestStructure {
    const name = (of.getName() ?? "").split("#").at(-1) ?? "";
    const known = this.#structures.get(name);
    if (known !== undefined) return known;
    const raw: unknown = of.getSchema();
    // The seventh place of a structure says how many of its leading members are required.
    const required = Array.isArray(raw) && typeof raw[6] === "number" ? raw[6] : 0;
    const members: RestMember[] = [];
    for (const [member, schema] of of.structIterator()) {
      members.push(
        new CompiledMember(
          member,
          schema,
          members.length < required,
          () => this.#shape(schema, () => isFractional(name, member)),
        ),
      );
    }
    const made = structureOf(
      name,
      NormalizedSchema.of(raw as SchemaRef).getMergedTraits().xmlName ?? name,
      of.isUnionSchema(),
      members,
    );
    this.#structures.set(name, made);
    return made;
  }

  #shape(of: NormalizedSchema, fractional: () => boolean): RestShape {
    if (of.isStructSchema()) return this.#structure(of);
    if (of.isListSchema()) {
      return {
        kind: "list",
        item: this.#shape(of.getValueSchema(), () => false),
        xml_item: of.getValueSchema().getMergedTraits().xmlName ?? "member",
        flattened: Boolean(of.getMergedTraits().xmlFlattened),
      };
    }
    if (of.isMapSchema()) {
      return {
        kind: "map",
        value: this.#shape(of.getValueSchema(), () => false),
        key_name: of.getKeySchema().getMergedTraits().xmlName ?? "key",
        value_name: of.getValueSchema().getMergedTraits().xmlName ?? "value",
        flattened: Boolean(of.getMergedTraits().xmlFlattened),
      };
    }
    if (of.isBlobSchema()) return scalar("blob");
    if (of.isTimestampSchema()) return { kind: "timestamp", format: formats.get(of.getSchema()) };
    if (of.isBooleanSchema()) return scalar("boolean");
    if (of.isNumericSchema()) return scalar(fractional() ? "number" : "integer");
    if (of.isStringSchema()) return scalar("string");
    throw new TypeError(`there is no REST form for the schema ${of.getName(true)}`);
  }
}
