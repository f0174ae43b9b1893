/**
 * A whole cluster in a process that has nothing but the grants it is said to need,
 * in an environment with a proxy that nobody listens at, and without environment
 * beyond the names that are granted.
 *
 * @module
 */
import assert from "node:assert/strict";
import { join } from "node:path";
import {
  attachmentManifest,
  connectTo,
  podManifest,
} from "../../tests/api_server/fixture.ts";
import { startApiServer } from "../../tests/api_server/server.ts";
import { IN_CLUSTER_ENV } from "./credential_sources.ts";
import { PROXY_ENV } from "./proxy_environment.ts";

const PROGRAM = `
import { createCluster } from "${import.meta.resolve("./cluster.ts")}";
import { loadCredentials } from "${import.meta.resolve("./credentials.ts")}";
const [dir, kubeconfig] = Deno.args;
using credentials = await loadCredentials({
  env: (name) => Deno.env.get(name),
  serviceAccountDir: dir,
  ...(kubeconfig === undefined ? {} : { kubeconfig }),
});
await using cluster = createCluster({ credentials, nodeName: "node-1" });
cluster.start();
const signal = AbortSignal.timeout(10_000);
await cluster.whenSynced(signal);
const pod = cluster.listLocalPods()[0];
const written = await cluster.patchNetworkStatus(pod, "[]", { signal });
const proxy = Deno.env.get("HTTPS_PROXY");
await Deno.stdout.write(new TextEncoder().encode([written, proxy].join()));
`;
const PROXY = "http://127.0.0.1:1";

Deno.test("createCluster() works with the grants it needs and no others", async (t) => {
  await using server = await startApiServer({
    objects: [podManifest("a"), attachmentManifest("net")],
  });
  await using connected = await connectTo(server);
  const { dir } = connected;
  const program = join(dir, "program.ts");
  await Deno.writeTextFile(program, PROGRAM);
  const config = join(import.meta.dirname ?? "", "../../deno.json");
  for (const kubeconfig of [[], [join(dir, "kubeconfig")]]) {
    await t.step(
      kubeconfig.length === 0 ? "in a pod" : "with a kubeconfig",
      async () => {
        const { success, stdout, stderr } = await new Deno.Command(
          Deno.execPath(),
          {
            args: [
              ...[
                "run",
                "--quiet",
                "--no-prompt",
                "--ignore-env",
                "--config",
                config,
              ],
              `--allow-env=${[...IN_CLUSTER_ENV, ...PROXY_ENV].join()}`,
              `--allow-net=127.0.0.1:${server.port}`,
              `--allow-read=${
                [
                  join(dir, "token"),
                  join(dir, "ca.crt"),
                  join(dir, "kubeconfig"),
                ].join()
              }`,
              ...[program, dir, ...kubeconfig],
            ],
            env: {
              ...Object.fromEntries(PROXY_ENV.map((name) => [name, PROXY])),
              KUBERNETES_SERVICE_HOST: "127.0.0.1",
              KUBERNETES_SERVICE_PORT: String(server.port),
            },
          },
        ).output();
        const [said, complaint] = [stdout, stderr].map((bytes) =>
          new TextDecoder().decode(bytes)
        );
        assert.ok(success, complaint ?? "no complaint");
        assert.equal(said, `written,${PROXY}`);
      },
    );
  }
});
