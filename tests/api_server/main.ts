/**
 * The stand-in API server as a process of its own: reads manifests (YAML or JSON,
 * files or directories), listens, prints its address as one JSON line, and serves
 * until it is ended. Needs `read` for the manifests, `write` for `--kubeconfig`,
 * `net` for the address, and `env` because the YAML library looks at two names.
 *
 *     deno run --allow-read --allow-net --allow-write --allow-env tests/api_server/main.ts \
 *       [--port N] [--hostname H] [--token T] [--kubeconfig FILE] [--delay-ms N] [--sign] PATH...
 *
 * @module
 */
import { parseArgs } from "node:util";
import { readManifests } from "./manifests.ts";
import { startApiServer } from "./server.ts";

if (import.meta.main) {
  const { values, positionals } = parseArgs({
    args: Deno.args,
    allowPositionals: true,
    options: {
      port: { type: "string" },
      hostname: { type: "string" },
      token: { type: "string" },
      kubeconfig: { type: "string" },
      "delay-ms": { type: "string" },
      sign: { type: "boolean" },
    },
  });
  const server = await startApiServer({
    objects: await readManifests(positionals),
    ...(values.port === undefined ? {} : { port: Number(values.port) }),
    ...(values.hostname === undefined ? {} : { hostname: values.hostname }),
    ...(values.token === undefined ? {} : { token: values.token }),
    signsRequests: values.sign ?? false,
  });
  const delayMs = values["delay-ms"];
  if (delayMs !== undefined) server.faults.add({ delayMs: Number(delayMs) });
  if (values.kubeconfig !== undefined) {
    await Deno.writeTextFile(values.kubeconfig, server.kubeconfig(), {
      mode: 0o600,
    });
  }
  const address = JSON.stringify({
    url: server.url,
    token: server.token,
    caPem: server.caPem,
  });
  await Deno.stdout.write(new TextEncoder().encode(`${address}\n`));
}
