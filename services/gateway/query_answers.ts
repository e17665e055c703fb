/**
 * Asks the owner of a query call and writes its answer as XML.
 *
 * The owner is asked every time and decides alone what the answer is. What is remembered is how an
 * answer reads as XML: each item of a list answer by its key, so that of a thousand instances only
 * those are written anew that changed; and the whole list of the last answer to the same question by
 * its digest, which the owner is told, so that an answer that is still the same need not be sent
 * again. Both are bounded in bytes.
 */
import { joined } from "../aws/bytes.ts";
import type { Operation, QueryService } from "../aws/schema/catalog.ts";
import { answerFrame, type QueryCall, writeAnswer } from "../aws/query/query_protocol.ts";
import type { StructureShape } from "../aws/schema/shape.ts";
import { listItemXml, structureXmlAround } from "../aws/query/xml_encode.ts";
import type { Bus, Reply } from "../bus/bus.ts";
import type { ListIndex } from "../bus/list_answer.ts";
import { Recent } from "../bus/recent.ts";
import { type CallContext, subject } from "../bus/subject.ts";

/** Enough for some four thousand instances each. */
const items_bytes = 16 << 20;
const lists_bytes = 16 << 20;

/** The output's members as XML: around the list's items, and those. */
interface Written {
  readonly digest: string;
  readonly before: string;
  readonly items: Uint8Array<ArrayBuffer>;
  readonly after: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

export class QueryAnswers {
  readonly #items = new Recent<string, Uint8Array>(items_bytes, (xml) => xml.length);
  readonly #lists = new Recent<string, Written>(lists_bytes, ({ items }) => items.length);

  /** @throws AwsError what the owner throws; TypeError when its answer is none of the operation */
  async ask(
    bus: Bus,
    service: QueryService,
    { action, operation, input }: QueryCall,
    context: CallContext,
    timeout_ms: number,
  ): Promise<Body> {
    const name = `${service.name}.${action}`;
    const question = JSON.stringify([context.account_id, name, input]);
    const known = this.#lists.get(question);
    const reply = await bus.askReply(
      subject<typeof input, unknown>(name, timeout_ms),
      input,
      context,
      known?.digest,
    );
    if (reply.index === undefined && (reply.digest === undefined || reply.data.length > 0)) {
      const output = JSON.parse(decoder.decode(reply.data));
      return bodyOf([encoder.encode(writeAnswer(service, operation, output, context.request_id))]);
    }
    const written = known !== undefined && known.digest === reply.digest
      ? known
      : this.#write(operation, reply);
    if (written !== known && question.length < 4096) this.#lists.set(question, written);
    const [open, close] = answerFrame(service, operation, context.request_id);
    return bodyOf([
      encoder.encode(open + written.before),
      written.items,
      encoder.encode(written.after + close),
    ]);
  }

  #write({ output }: Operation, { data, index, digest = "" }: Reply): Written {
    if (output === undefined || index === undefined) {
      throw new TypeError("a list was answered where the operation has none");
    }
    const items = joined(this.#itemsOf(output, data, index));
    const around = JSON.parse(
      decoder.decode(data.subarray(0, index.start)) + decoder.decode(data.subarray(index.end)),
    );
    const [before, after] = structureXmlAround(output, around, index.member);
    return { digest, before, items, after };
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

export interface Body {
  readonly content: ReadableStream<Uint8Array<ArrayBuffer>> | Uint8Array<ArrayBuffer>;
  readonly bytes: number;
}

/** Larger ones are sent in pieces: making 4 MiB anew for every answer costs more than encrypting them. */
const whole_bytes = 64 << 10;
const piece_bytes = 1 << 20;

function bodyOf(parts: readonly Uint8Array<ArrayBuffer>[]): Body {
  const bytes = parts.reduce((sum, part) => sum + part.length, 0);
  if (bytes <= whole_bytes) return { content: joined(parts), bytes };
  const pieces = function* () {
    for (const part of parts) {
      for (let at = 0; at < part.length; at += piece_bytes) {
        yield part.subarray(at, at + piece_bytes);
      }
    }
  }();
  const content = new ReadableStream<Uint8Array<ArrayBuffer>>({
    pull(controller) {
      const next = pieces.next();
      if (next.done) controller.close();
      else controller.enqueue(next.value);
    },
  }, { highWaterMark: 0 });
  return { content, bytes };
}
