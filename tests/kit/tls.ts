/** A certificate authority and server certificate for one test, made as the product makes its own. */
import { pathsOf } from "../../services/config/node_config.ts";
import { ensureCertificates } from "../../tasks/init/certificates.ts";

export interface TestTls extends AsyncDisposable {
  /** Path of the authority's certificate, for `AWS_CA_BUNDLE` and `--cacert`. */
  readonly ca_path: string;
  /** PEM. */
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export async function makeTls(): Promise<TestTls> {
  const directory = await Deno.makeTempDir({ prefix: "mulga-tls-" });
  const paths = pathsOf(directory);
  await Deno.mkdir(`${directory}/tls`);
  await ensureCertificates(paths, ["localhost", "127.0.0.1"]);
  const read = (path: string) => Deno.readTextFile(path);
  return {
    ca_path: paths.tls.ca,
    ca: await read(paths.tls.ca),
    cert: await read(paths.tls.cert),
    key: await read(paths.tls.key),
    [Symbol.asyncDispose]: () => Deno.remove(directory, { recursive: true }),
  };
}
