/**
 * Writes what an owner answered as the XML of a query protocol.
 *
 * Items of a list answer are turned into XML once and remembered by their key: describing a thousand
 * instances that have not changed is putting a thousand pieces together. What is remembered is bounded.
 */
import type { Operation, QueryService } from "../aws/catalog.ts";
import { answerFrame, writeAnswer } from "../aws/query_protocol.ts";
import type { StructureShape } from "../aws/shape.ts";
import { listItemXml, structureXmlAround } from "../aws/xml_encode.ts";
import type { Reply } from "../bus/bus.ts";
import type { ListIndex } from "../bus/list_answer.ts";
import { Recent } from "../bus/recent.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Enough for some four thousand instances. */
const remembered_bytes = 16 << 20;

export class QueryAnswers {
  readonly #items = new Recent<string, Uint8Array>(remembered_bytes, (xml) => xml.length);

  /** @throws TypeError when the answer does not fit the operation's shape */
  write(
    service: QueryService,
    operation: Operation,
    { data, index }: Reply,
    request_id: string,
  ): string | Uint8Array<ArrayBuffer> {
    const { output } = operation;
    if (index === undefined || output === undefined) {
      return writeAnswer(service, operation, JSON.parse(decoder.decode(data)), request_id);
    }
    const items = this.#itemsOf(output, data, index);
    const around = JSON.parse(
      decoder.decode(data.subarray(0, index.start)) + decoder.decode(data.subarray(index.end)),
    );
    const [frameBefore, frameAfter] = answerFrame(service, operation, request_id);
    const [before, after] = structureXmlAround(output, around, index.member);
    return joined([
      encoder.encode(frameBefore + before),
      ...items,
      encoder.encode(after + frameAfter),
    ]);
  }

  #itemsOf(output: StructureShape, data: Uint8Array, index: ListIndex): Uint8Array[] {
    const list = output.members.find((member) => member.name === index.member)?.shape;
    if (list?.kind !== "list" || list.flattened) {
      throw new TypeError(`the answer's ${output.name}.${index.member} is no list`);
    }
    const path = `${output.name}.${index.member}`;
    let at = index.start;
    return index.keys.map((key, place) => {
      const length = index.lengths[place] ?? 0;
      const name = `${path} ${key}`;
      let xml = this.#items.get(name);
      if (xml === undefined) {
        const item = JSON.parse(decoder.decode(data.subarray(at, at + length)));
        xml = encoder.encode(listItemXml(list, item, path));
        this.#items.set(name, xml);
      }
      at += length + 1;
      return xml;
    });
  }
}

function joined(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  let size = 0;
  for (const part of parts) size += part.length;
  const whole = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
