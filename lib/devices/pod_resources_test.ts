import { deepStrictEqual, ok, rejects, strictEqual } from "node:assert/strict";
import * as path from "node:path";
import { CniError, ErrorCode } from "../cni/error.ts";
import {
  type FakeKubelet,
  type FakeKubeletOptions,
  type KubeletPod,
  startFakeKubelet,
} from "../../tests/kubelet/fake_kubelet.ts";
import {
  createPodResourcesClient,
  type PodResourcesClient,
} from "./pod_resources.ts";
import type { ContainerDevices, PodName } from "./pod_resources_messages.ts";

/** Every wait of these tests ends in time to say which one it was. */
const TEST_WAIT_MS = 20_000;
const POD = pod("web-0", ["0000:03:02.0"]);

Deno.test("devicesOf() tells each container's devices whichever way the kubelet answers", async (t) => {
  const twoContainers = {
    namespace: "default",
    name: "two",
    containers: {
      first: { "intel.com/sriov": ["b", "a"] },
      second: { "intel.com/sriov": ["d"], "x/y": ["c"] },
    },
  };
  for (const get of ["served", "disabled", "missing"] as const) {
    await t.step(get, async () => {
      await withKubelet(
        { pods: [POD, twoContainers], get },
        async ({ ask }) => {
          const devices = await ask({ namespace: "default", name: "two" });
          deepStrictEqual([...new Set(devices.map((d) => d.containerName))], [
            "first",
            "second",
          ]);
          deepStrictEqual(flatten(devices).sort(), [
            "first intel.com/sriov a",
            "first intel.com/sriov b",
            "second intel.com/sriov d",
            "second x/y c",
          ]);
        },
      );
    });
  }
});

Deno.test("devicesOf() has no devices for a pod that the kubelet does not know", async (t) => {
  for (const get of ["served", "disabled", "missing"] as const) {
    await t.step(get, async () => {
      await withKubelet({ pods: [POD], get }, async ({ ask }) => {
        deepStrictEqual(await ask({ namespace: "other", name: POD.name }), []);
      });
    });
  }
});

Deno.test("devicesOf() does not ask for Get again where it is not to be had", async (t) => {
  for (const get of ["disabled", "missing"] as const) {
    await t.step(get, async () => {
      await withKubelet({ pods: [POD], get }, async ({ ask, kubelet }) => {
        for (let i = 0; i < 3; i++) strictEqual((await ask(POD)).length, 1);
        strictEqual(kubelet.counts.list, 3);
        strictEqual(kubelet.counts.get, get === "disabled" ? 1 : 0);
      });
    });
  }
});

Deno.test("devicesOf() reads a list of 2 MB", async () => {
  await withKubelet(
    { pods: [POD], get: "missing", listBytesMin: 2_000_000 },
    async ({ ask }) => {
      deepStrictEqual(flatten(await ask(POD)), [
        "app intel.com/sriov 0000:03:02.0",
      ]);
    },
  );
});

Deno.test("devicesOf() refuses a list of more than 16 MB at once", async () => {
  await withKubelet(
    { pods: [POD], get: "missing", listBytesMin: 17_000_000 },
    async ({ ask, kubelet }) => {
      await rejects(() => ask(POD), (error) => {
        ok(error instanceof CniError && error.code === ErrorCode.tryAgainLater);
        ok(/larger than max/i.test(error.message), error.message);
        return true;
      });
      strictEqual(kubelet.counts.list, 1);
    },
  );
});

Deno.test("devicesOf() shares one Get between those who ask for one pod at once", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, kubelet }) => {
    const answers = await Promise.all(
      Array.from({ length: 10 }, () => ask(POD)),
    );
    for (const devices of answers) strictEqual(devices.length, 1);
    deepStrictEqual(kubelet.counts, { get: 1, list: 0, refused: 0 });
  });
});

Deno.test("devicesOf() serves 100 pods with one call", async () => {
  const pods = manyPods(100);
  await withKubelet({ pods, rateLimit: 5 }, async ({ ask, kubelet }) => {
    const answers = await Promise.all(pods.map((pod) => ask(pod)));
    deepStrictEqual(
      answers.map((devices) => devices.map((d) => d.deviceIds)),
      pods.map((_, i) => [[`vf-${i}`]]),
    );
    deepStrictEqual(kubelet.counts, { get: 0, list: 1, refused: 0 });
  });
});

Deno.test("devicesOf() gets 100 pods that come one after the other through a limit of 5 calls a second", async () => {
  const pods = manyPods(100);
  await withKubelet({ pods, rateLimit: 5 }, async ({ ask, kubelet }) => {
    const answers: Promise<readonly ContainerDevices[]>[] = [];
    for (const pod of pods) {
      answers.push(ask(pod));
      // Lets the client get on, so that these pods do not all come in one go.
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    deepStrictEqual(
      (await Promise.all(answers)).map((devices) => devices[0]?.deviceIds[0]),
      pods.map((_, i) => `vf-${i}`),
    );
    ok(
      kubelet.counts.get + kubelet.counts.list < 20,
      JSON.stringify(kubelet.counts),
    );
  });
});

Deno.test("devicesOf() asks again until the rate limit lets it through", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, kubelet }) => {
    kubelet.failNext(RATE_LIMITED, RATE_LIMITED, RATE_LIMITED);
    strictEqual((await ask(POD)).length, 1);
  });
});

Deno.test("devicesOf() does not give an answer that was under way before it was asked", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, kubelet }) => {
    const release = kubelet.hold();
    const called = kubelet.nextCall();
    const first = ask(POD);
    await called;
    // The pod is replaced by another of its name while the kubelet still answers for the old one.
    kubelet.setPods([pod(POD.name, ["0000:03:02.7"])]);
    const second = ask(POD);
    release();
    deepStrictEqual(flatten(await first), ["app intel.com/sriov 0000:03:02.0"]);
    deepStrictEqual(flatten(await second), [
      "app intel.com/sriov 0000:03:02.7",
    ]);
  });
});

Deno.test("devicesOf() gives up with the signal and says what the kubelet said", async (t) => {
  await t.step("rate limit", async () => {
    await withKubelet({ pods: [POD] }, async ({ client, kubelet }) => {
      kubelet.failNext(...Array(100).fill(RATE_LIMITED));
      const controller = new AbortController();
      const answer = client.devicesOf(POD, { signal: controller.signal });
      await kubelet.nextCall();
      await kubelet.nextCall();
      controller.abort();
      await rejects(
        answer,
        tryAgainLater(
          'Kubelet does not tell the devices of pod "default/web-0": rejected by rate limit',
        ),
      );
    });
  });
  await t.step("no answer", async () => {
    await withKubelet({ pods: [POD] }, async ({ client, kubelet }) => {
      kubelet.hold();
      const controller = new AbortController();
      const answer = client.devicesOf(POD, { signal: controller.signal });
      await kubelet.nextCall();
      controller.abort(
        new DOMException("Deadline of the request has passed", "TimeoutError"),
      );
      await rejects(
        answer,
        tryAgainLater(/Deadline of the request has passed/),
      );
    });
  });
  await t.step("signal that has fired before", async () => {
    await withKubelet({ pods: [POD] }, async ({ client, kubelet }) => {
      await rejects(
        client.devicesOf(POD, { signal: AbortSignal.abort() }),
        tryAgainLater(/default\/web-0/),
      );
      deepStrictEqual(kubelet.counts, { get: 0, list: 0, refused: 0 });
    });
  });
});

Deno.test("devicesOf() goes on for the others when one gives up", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, client, kubelet }) => {
    const release = kubelet.hold();
    const controller = new AbortController();
    const called = kubelet.nextCall();
    const impatient = client.devicesOf(POD, { signal: controller.signal });
    const patient = ask(POD);
    await called;
    controller.abort();
    await rejects(impatient, CniError);
    release();
    strictEqual((await patient).length, 1);
  });
});

Deno.test("devicesOf() serves who comes just when the last one has given up", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, client, kubelet }) => {
    const release = kubelet.hold();
    const controller = new AbortController();
    const called = kubelet.nextCall();
    const impatient = client.devicesOf(POD, { signal: controller.signal });
    await called;
    controller.abort();
    await rejects(impatient, CniError);
    const next = ask(POD);
    release();
    strictEqual((await next).length, 1);
  });
});

Deno.test("devicesOf() calls again after a call that is never answered", async () => {
  await withKubelet({ pods: [POD] }, async ({ kubelet, ask }) => {
    const release = kubelet.hold();
    const called = kubelet.nextCall();
    const answer = ask(POD);
    await called;
    const calledAgain = kubelet.nextCall();
    await calledAgain;
    release();
    strictEqual((await answer).length, 1);
    strictEqual(kubelet.counts.get, 2);
  }, { callTimeoutMs: 100 });
});

Deno.test("devicesOf() waits for a kubelet that comes back", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const client = createPodResourcesClient(path.join(dir, "kubelet.sock"));
    const answer = client.devicesOf(POD, {
      signal: AbortSignal.timeout(TEST_WAIT_MS),
    });
    await using _kubelet = await startFakeKubelet(dir, { pods: [POD] });
    strictEqual((await answer).length, 1);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("devicesOf() survives a kubelet that restarts between two questions", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const client = createPodResourcesClient(path.join(dir, "kubelet.sock"));
    for (let i = 0; i < 3; i++) {
      await using _kubelet = await startFakeKubelet(dir, { pods: [POD] });
      strictEqual(
        (await client.devicesOf(POD, {
          signal: AbortSignal.timeout(TEST_WAIT_MS),
        })).length,
        1,
      );
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("devicesOf() fails at once when the kubelet refuses for good", async (t) => {
  const rows = [
    { what: "permission", failure: { code: 7, details: "not for you" } },
    { what: "internal", failure: { code: 13, details: "something is broken" } },
  ];
  for (const { what, failure } of rows) {
    await t.step(what, async () => {
      await withKubelet({ pods: [POD] }, async ({ ask, kubelet }) => {
        kubelet.failNext(failure);
        await rejects(ask(POD), tryAgainLater(new RegExp(failure.details)));
        strictEqual(
          (await ask(POD)).length,
          1,
          "the next question is asked anew",
        );
      });
    });
  }
});

Deno.test("devicesOf() says so when the answer cannot be read", async () => {
  await withKubelet({ pods: [POD] }, async ({ ask, kubelet }) => {
    kubelet.answerWith(Uint8Array.of(0x0a, 0xff));
    await rejects(
      ask(POD),
      (error) =>
        error instanceof CniError && error.code === ErrorCode.decodingFailure,
    );
  });
});

const RATE_LIMITED = { code: 8, details: "rejected by rate limit" };

interface Scene {
  readonly kubelet: FakeKubelet;
  readonly client: PodResourcesClient;
  readonly ask: (pod: PodName) => Promise<readonly ContainerDevices[]>;
}

async function withKubelet(
  options: FakeKubeletOptions,
  play: (scene: Scene) => Promise<void>,
  clientOptions: { callTimeoutMs?: number } = {},
): Promise<void> {
  const dir = await Deno.makeTempDir();
  const deadline = new AbortController();
  const timer = setTimeout(
    () => deadline.abort(new RangeError("Test took too long")),
    TEST_WAIT_MS,
  );
  try {
    await using kubelet = await startFakeKubelet(dir, options);
    const client = createPodResourcesClient(kubelet.socket, clientOptions);
    await play({
      kubelet,
      client,
      ask: (pod) => client.devicesOf(pod, { signal: deadline.signal }),
    });
  } finally {
    clearTimeout(timer);
    await Deno.remove(dir, { recursive: true });
  }
}

function pod(name: string, ids: readonly string[]): KubeletPod {
  return {
    namespace: "default",
    name,
    containers: { app: { "intel.com/sriov": ids } },
  };
}

function manyPods(count: number): KubeletPod[] {
  return Array.from({ length: count }, (_, i) => pod(`web-${i}`, [`vf-${i}`]));
}

function flatten(devices: readonly ContainerDevices[]): string[] {
  return devices.flatMap((d) =>
    d.deviceIds.map((id) => `${d.containerName} ${d.resourceName} ${id}`)
  );
}

function tryAgainLater(message: string | RegExp): (error: unknown) => boolean {
  return (error) => {
    ok(error instanceof CniError);
    strictEqual(error.code, ErrorCode.tryAgainLater);
    if (typeof message === "string") strictEqual(error.message, message);
    else ok(message.test(error.message), error.message);
    return true;
  };
}
