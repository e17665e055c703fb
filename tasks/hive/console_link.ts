/** `hive console-link`: an address that signs one browser in to the console, once, for five minutes. */
import { type LoginLink, loginLink } from "../../services/console/contract.ts";
import { AwsError } from "../../services/aws/errors.ts";
import { CommandError } from "../terminal/command.ts";
import { busOf, type NodeOfCommand } from "./node.ts";

/** @throws CommandError when the node or its console does not run */
export async function consoleLink(node: NodeOfCommand): Promise<LoginLink> {
  await using bus = await busOf(node);
  try {
    return await bus.ask(loginLink, null);
  } catch (cause) {
    if (!(cause instanceof AwsError) || cause.status !== 503) throw cause;
    throw new CommandError("The console does not answer; `hive status` tells how it is.", 1, {
      cause,
    });
  }
}
