/**
 * The compiled form of AWS's wire schemas: what the codecs walk for each request.
 *
 * The official `@aws-sdk/client-*` packages carry the Smithy schemas; `compile` turns one into a
 * `Shape` with every wire name worked out, once per structure and only when it is first met (EC2 has
 * 2,580 structures, a node uses a few dozen). Shapes may be recursive, so members are reached through
 * `Member.shape`, which compiles on first use.
 */
import { NormalizedSchema, type SchemaRef } from "./smithy_schema.ts";
import { isFractional } from "./fractional.ts";

/** The two query protocols name the same things differently on the wire. */
export type QueryFlavour = "ec2" | "aws";

export type ScalarKind = "string" | "boolean" | "integer" | "number" | "timestamp" | "blob";

export interface ScalarShape {
  readonly kind: ScalarKind;
}

export interface ListShape {
  readonly kind: "list";
  readonly item: Shape;
  /** What stands between the list's name and the index in a query: `member`, or nothing. */
  readonly query_infix: string | undefined;
  /** Element of one item; a flattened list repeats the list's own element instead. */
  readonly xml_item: string;
  readonly flattened: boolean;
}

export interface MapShape {
  readonly kind: "map";
  readonly value: Shape;
  readonly query_infix: string | undefined;
  readonly key_name: string;
  readonly value_name: string;
  readonly flattened: boolean;
}

export interface Member {
  /** As handlers and the SDK call it. */
  readonly name: string;
  /** As a query calls it. */
  readonly query_name: string;
  readonly xml_name: string;
  readonly xml_open: string;
  readonly xml_close: string;
  readonly required: boolean;
  readonly shape: Shape;
}

export interface StructureShape {
  readonly kind: "structure";
  readonly name: string;
  readonly members: readonly Member[];
  readonly by_query_name: ReadonlyMap<string, Member>;
}

export type Shape = ScalarShape | ListShape | MapShape | StructureShape;

const scalar: Readonly<Record<ScalarKind, ScalarShape>> = {
  string: { kind: "string" },
  boolean: { kind: "boolean" },
  integer: { kind: "integer" },
  number: { kind: "number" },
  timestamp: { kind: "timestamp" },
  blob: { kind: "blob" },
};

function capitalised(name: string): string {
  return name.charAt(0).toUpperCase() + name.slice(1);
}

class CompiledMember implements Member {
  readonly xml_open: string;
  readonly xml_close: string;
  #shape: Shape | undefined;
  readonly #make: () => Shape;

  constructor(
    readonly name: string,
    readonly query_name: string,
    readonly xml_name: string,
    readonly required: boolean,
    make: () => Shape,
  ) {
    this.xml_open = `<${xml_name}>`;
    this.xml_close = `</${xml_name}>`;
    this.#make = make;
  }

  get shape(): Shape {
    return this.#shape ??= this.#make();
  }
}

/** Members that the schema requires and this cloud does not: without a device the next free one is chosen. */
const optionalHere: ReadonlySet<string> = new Set(["AttachVolumeRequest.Device"]);

/** Compiles the schemas of one service; structures are shared, so keep one per service. */
export class ShapeCompiler {
  readonly #flavour: QueryFlavour;
  readonly #structures = new Map<string, StructureShape>();

  constructor(flavour: QueryFlavour) {
    this.#flavour = flavour;
  }

  /** The structure of an operation's input or output; nothing where it has none. */
  structure(schema: SchemaRef): StructureShape | undefined {
    const normalised = NormalizedSchema.of(schema);
    if (!normalised.isStructSchema()) return undefined;
    return this.#structure(normalised);
  }

  #structure(schema: NormalizedSchema): StructureShape {
    const name = (schema.getName() ?? "").split("#").at(-1) ?? "";
    const known = this.#structures.get(name);
    if (known !== undefined) return known;
    const raw: unknown = schema.getSchema();
    // The seventh place of a structure says how many of its leading members are required.
    const required = Array.isArray(raw) && typeof raw[6] === "number" ? raw[6] : 0;
    const members: Member[] = [];
    for (const [member, of] of schema.structIterator()) {
      const needed = members.length < required && !optionalHere.has(`${name}.${member}`);
      members.push(this.#member(name, member, of, needed));
    }
    const made: StructureShape = {
      kind: "structure",
      name,
      members,
      by_query_name: new Map(members.map((member) => [member.query_name, member])),
    };
    this.#structures.set(name, made);
    return made;
  }

  #member(structure: string, name: string, of: NormalizedSchema, required: boolean): Member {
    const traits = of.getMergedTraits();
    const own = of.getMemberTraits();
    const xmlName = traits.xmlName ?? name;
    const ec2Name = traits.ec2QueryName;
    const query_name = this.#flavour === "aws"
      ? xmlName
      : typeof ec2Name === "string"
      ? ec2Name
      : capitalised(xmlName);
    return new CompiledMember(
      name,
      query_name,
      own.xmlName ?? name,
      required,
      () => this.#shape(of, () => isFractional(structure, name)),
    );
  }

  #shape(of: NormalizedSchema, fractional: () => boolean): Shape {
    if (of.isStructSchema()) return this.#structure(of);
    if (of.isListSchema()) return this.#list(of);
    if (of.isMapSchema()) return this.#map(of);
    if (of.isBlobSchema()) return scalar.blob;
    if (of.isTimestampSchema()) return scalar.timestamp;
    if (of.isBooleanSchema()) return scalar.boolean;
    if (of.isNumericSchema()) return fractional() ? scalar.number : scalar.integer;
    if (of.isStringSchema()) return scalar.string;
    throw new TypeError(`there is no wire form for the schema ${of.getName(true)}`);
  }

  #list(of: NormalizedSchema): ListShape {
    const item = of.getValueSchema();
    const flattened = of.getMergedTraits().xmlFlattened === 1;
    const xml_item = item.getMergedTraits().xmlName ?? "member";
    return {
      kind: "list",
      item: this.#shape(item, () => false),
      query_infix: this.#flavour === "ec2" || flattened ? undefined : xml_item,
      xml_item,
      flattened,
    };
  }

  #map(of: NormalizedSchema): MapShape {
    const flattened = of.getMergedTraits().xmlFlattened === 1;
    return {
      kind: "map",
      value: this.#shape(of.getValueSchema(), () => false),
      query_infix: flattened ? undefined : "entry",
      key_name: of.getKeySchema().getMergedTraits().xmlName ?? "key",
      value_name: of.getValueSchema().getMergedTraits().xmlName ?? "value",
      flattened,
    };
  }
}
