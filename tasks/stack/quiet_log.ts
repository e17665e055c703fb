/** A silent log, for the commands' own short connections to the bus. */
import { createLog } from "../../services/log/log.ts";

export const quietLog = createLog("hive", { write: () => {} });
