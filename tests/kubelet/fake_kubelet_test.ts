import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import {
  connectKubelet,
  KubeletCallError,
} from "../../lib/devices/kubelet_connection.ts";
import {
  readGetResponse,
  readListResponse,
  writeGetRequest,
} from "../../lib/devices/pod_resources_messages.ts";
import {
  type FakeKubelet,
  type FakeKubeletOptions,
  type KubeletPod,
  startFakeKubelet,
} from "./fake_kubelet.ts";

const GET = "/v1.PodResourcesLister/Get";
const LIST = "/v1.PodResourcesLister/List";
const POD: KubeletPod = {
  namespace: "default",
  name: "web",
  containers: {
    app: { "x/y": Array.from({ length: 20 }, (_, i) => `id-${i}`) },
  },
};

Deno.test("startFakeKubelet() answers as the kubelet does when it cannot", async (t) => {
  const rows: {
    what: string;
    options: FakeKubeletOptions;
    status: number;
    message: RegExp;
  }[] = [
    {
      what: "no such pod",
      options: { pods: [] },
      status: 2,
      message: /^pod web in namespace default not found$/,
    },
    {
      what: "Get disabled",
      options: { get: "disabled" },
      status: 2,
      message: /^PodResources API Get method disabled$/,
    },
    { what: "no Get", options: { get: "missing" }, status: 12, message: /Get/ },
    {
      what: "rate limit",
      options: { rateLimit: 0 },
      status: 8,
      message: /^rejected by rate limit$/,
    },
  ];
  for (const { what, options, status, message } of rows) {
    await t.step(what, async () => {
      await withKubelet(options, async (call) => {
        await rejects(call(GET, writeGetRequest(POD)), (error) => {
          ok(error instanceof KubeletCallError);
          strictEqual(error.status, status);
          ok(message.test(error.message), error.message);
          return true;
        });
      });
    });
  }
});

Deno.test("startFakeKubelet() gives devices in another order each time", async () => {
  await withKubelet({ pods: [POD] }, async (call) => {
    const read = async (): Promise<string[]> =>
      readGetResponse(await call(GET, writeGetRequest(POD))).flatMap((
        { deviceIds },
      ) => deviceIds);
    const answers = [await read(), await read(), await read()];
    ok(new Set(answers.map(String)).size > 1);
    for (const answer of answers) {
      deepStrictEqual(answer.sort(), POD.containers.app?.["x/y"]?.toSorted());
    }
  });
});

Deno.test("startFakeKubelet() makes a list as large as it is asked to", async () => {
  await withKubelet({ pods: [POD], listBytesMin: 2_000_000 }, async (call) => {
    const answer = await call(LIST, new Uint8Array());
    ok(
      answer.length > 2_000_000 && answer.length < 2_100_000,
      String(answer.length),
    );
    strictEqual(
      readListResponse(answer, new Set(["default/web"])).get("default/web")
        ?.length,
      20,
    );
  });
});

Deno.test("startFakeKubelet() lets through as many calls a second as it is told", async () => {
  await withKubelet({ pods: [POD], rateLimit: 5 }, async (call, kubelet) => {
    const outcomes = await Promise.allSettled(
      Array.from({ length: 20 }, () => call(LIST, new Uint8Array())),
    );
    const passed = outcomes.filter(({ status }) =>
      status === "fulfilled"
    ).length;
    strictEqual(passed, kubelet.counts.list);
    strictEqual(kubelet.counts.refused, 20 - passed);
    ok(passed >= 5 && passed < 20, String(passed));
  });
});

async function withKubelet(
  options: FakeKubeletOptions,
  use: (
    call: (method: string, request: Uint8Array) => Promise<Uint8Array>,
    kubelet: FakeKubelet,
  ) => Promise<void>,
): Promise<void> {
  const dir = await Deno.makeTempDir();
  try {
    await using kubelet = await startFakeKubelet(dir, options);
    using connection = await connectKubelet(kubelet.socket);
    const { signal } = new AbortController();
    await use(
      (method, request) =>
        connection.call(method, request, { timeoutMs: 10_000, signal }),
      kubelet,
    );
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}
