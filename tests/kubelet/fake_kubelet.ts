/**
 * A kubelet's pod-resources server to test against: real gRPC on a unix socket, with the answers, refusals and delays
 * that a test asks for. It says what the kubelet says, in its words and with its status codes, and like the kubelet it
 * gives the devices of one container in another order each time. It writes its messages by itself, field by field.
 */

import { Buffer } from "node:buffer";
import * as path from "node:path";
import {
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServiceDefinition,
  status,
} from "@grpc/grpc-js";
import {
  readFields,
  readText,
  writeFields,
} from "../../lib/devices/protobuf.ts";

/** A pod on the node: devices by container, then by resource, containers in the order of the pod. */
export interface KubeletPod {
  /** The pod's namespace. */
  readonly namespace: string;
  /** The pod's own name. */
  readonly name: string;
  /** Device IDs by container and resource. */
  readonly containers: Readonly<
    Record<string, Readonly<Record<string, readonly string[]>>>
  >;
}

/** How the kubelet behaves. */
export interface FakeKubeletOptions {
  /** The pods at the start. */
  readonly pods?: readonly KubeletPod[];
  /** Kubelets before 1.27 have no Get ("missing"), those before 1.34 refuse it ("disabled"). */
  readonly get?: "served" | "disabled" | "missing";
  /** Calls a second for all clients together, with as large a burst; without it there is no limit. */
  readonly rateLimit?: number;
  /** Further pods, so that a list is at least so large. */
  readonly listBytesMin?: number;
}

/** What was asked of the kubelet so far. */
export interface KubeletCounts {
  /** Calls of Get that were let through. */
  get: number;
  /** Calls of List that were let through. */
  list: number;
  /** Calls that the rate limit kept out. */
  refused: number;
}

/** A kubelet that runs. */
export interface FakeKubelet extends AsyncDisposable {
  /** The path of the socket. */
  readonly socket: string;
  /** Counted since the start. */
  readonly counts: Readonly<KubeletCounts>;
  /** Puts other pods in place. */
  setPods(pods: readonly KubeletPod[]): void;
  /** Keeps every call from now on without an answer, until what it returns is called. */
  hold(): () => void;
  /** Resolves when the next call has come in. */
  nextCall(): Promise<void>;
  /** Answers the next calls with these errors, one each. */
  failNext(...failures: readonly { code: number; details: string }[]): void;
  /** Gives these bytes, whatever they are, for every answer. */
  answerWith(bytes: Uint8Array): void;
}

/**
 * Starts a kubelet with its socket in a directory of its own under `dir`.
 *
 * Needs read, write and net permission for the socket.
 */
export async function startFakeKubelet(
  dir: string,
  options: FakeKubeletOptions = {},
): Promise<FakeKubelet> {
  const socket = path.join(dir, "kubelet.sock");
  const state = new KubeletState(options);
  const server = new Server({ "grpc.max_send_message_length": -1 });
  server.addService(serviceDefinition(options.get ?? "served"), {
    Get: (call: Call, done: Done) => void state.answer("get", call, done),
    List: (call: Call, done: Done) => void state.answer("list", call, done),
  });
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.bindAsync(
    `unix:${socket}`,
    ServerCredentials.createInsecure(),
    (error) => error ? reject(error) : resolve(),
  );
  await promise;
  return {
    socket,
    counts: state.counts,
    setPods: (pods) => state.setPods(pods),
    hold: () => state.hold(),
    nextCall: () => state.nextCall(),
    failNext: (...failures) => void state.failures.push(...failures),
    answerWith: (bytes) => void (state.fixedAnswer = bytes),
    [Symbol.asyncDispose]: () => stop(server, state),
  };
}

type Call = ServerUnaryCall<Uint8Array, Uint8Array>;
type Done = sendUnaryData<Uint8Array>;

class KubeletState {
  readonly counts: KubeletCounts = { get: 0, list: 0, refused: 0 };
  readonly failures: { code: number; details: string }[] = [];
  fixedAnswer: Uint8Array | undefined;
  readonly #options: FakeKubeletOptions;
  readonly #limiter: RateLimiter | undefined;
  #pods: readonly KubeletPod[];
  #gate: PromiseWithResolvers<void> | undefined;
  #arrival = Promise.withResolvers<void>();

  constructor(options: FakeKubeletOptions) {
    this.#options = options;
    this.#pods = options.pods ?? [];
    this.#limiter = options.rateLimit === undefined
      ? undefined
      : new RateLimiter(options.rateLimit);
  }

  setPods(pods: readonly KubeletPod[]): void {
    this.#pods = pods;
  }

  hold(): () => void {
    const gate = Promise.withResolvers<void>();
    this.#gate = gate;
    return () => {
      if (this.#gate === gate) this.#gate = undefined;
      gate.resolve();
    };
  }

  release(): void {
    this.#gate?.resolve();
    this.#gate = undefined;
  }

  nextCall(): Promise<void> {
    return this.#arrival.promise;
  }

  async answer(method: "get" | "list", call: Call, done: Done): Promise<void> {
    this.#arrival.resolve();
    this.#arrival = Promise.withResolvers();
    if (this.#limiter?.allow() === false) {
      this.counts.refused++;
      return done({
        code: status.RESOURCE_EXHAUSTED,
        details: "rejected by rate limit",
      });
    }
    const failure = this.failures.shift();
    if (failure !== undefined) return done(failure);
    this.counts[method]++;
    // Taken before the wait, as a slow kubelet takes it: what it then answers may be out of date.
    const pods = this.#pods;
    await this.#gate?.promise;
    if (this.fixedAnswer !== undefined) return done(null, this.fixedAnswer);
    if (method === "list") return done(null, this.#writeList(pods));
    this.#answerGet(pods, call, done);
  }

  #answerGet(pods: readonly KubeletPod[], call: Call, done: Done): void {
    if (this.#options.get === "disabled") {
      return done({
        code: status.UNKNOWN,
        details: "PodResources API Get method disabled",
      });
    }
    const [name = "", namespace = ""] = [...readFields(call.request)].map((
      { bytes },
    ) => readText(bytes));
    const pod = pods.find((pod) =>
      pod.name === name && pod.namespace === namespace
    );
    if (pod === undefined) {
      return done({
        code: status.UNKNOWN,
        details: `pod ${name} in namespace ${namespace} not found`,
      });
    }
    done(null, writeFields([[1, writePod(pod)]]));
  }

  #writeList(pods: readonly KubeletPod[]): Uint8Array {
    const fields = pods.map((pod) => [1, writePod(pod)] as const);
    const fill = writePod(FILL_POD);
    for (
      let bytes = 0;
      bytes < (this.#options.listBytesMin ?? 0);
      bytes += fill.length
    ) fields.push([1, fill]);
    return writeFields(fields);
  }
}

/** A bucket of tokens, as the kubelet's limiter, with a burst of one second's worth. */
class RateLimiter {
  readonly #perSecond: number;
  #tokens: number;
  #at = performance.now();

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
  }

  allow(): boolean {
    const now = performance.now();
    this.#tokens = Math.min(
      this.#perSecond,
      this.#tokens + (now - this.#at) / 1000 * this.#perSecond,
    );
    this.#at = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}

const FILL_POD: KubeletPod = {
  namespace: "fill",
  name: "a-pod-with-many-devices",
  containers: {
    app: {
      "example.com/fill": Array.from(
        { length: 100 },
        (_, i) => `0000:5e:00.${i}`,
      ),
    },
  },
};

function writePod(pod: KubeletPod): Uint8Array {
  const containers = Object.entries(pod.containers).map(([name, resources]) => {
    const devices = Object.entries(resources).flatMap(([resource, ids]) =>
      ids.map((id) => writeDevice(resource, id))
    );
    return [
      3,
      writeFields([
        [1, name],
        ...shuffle(devices).map((device) => [2, device] as const),
        ...MORE,
      ]),
    ] as const;
  });
  return writeFields([[1, pod.name], [2, pod.namespace], ...containers]);
}

/** The kubelet writes one of these for each device, with its NUMA node. */
function writeDevice(resource: string, id: string): Uint8Array {
  return writeFields([[1, resource], [2, id], [
    3,
    writeFields([[1, Uint8Array.of(0x08, 0x01)]]),
  ]]);
}

/** What else a container has: CPUs, memory, a dynamic resource; nobody reads them here. */
const MORE = [
  [3, Uint8Array.of(1, 2, 3)],
  [4, writeFields([[1, "hugepages-1Gi"]])],
  [5, writeFields([[2, "claim"], [3, "default"]])],
] as const;

/** In another order each time, as a Go map is walked. */
function shuffle<T>(list: readonly T[]): T[] {
  return list.map((value) => ({ value, key: Math.random() })).sort((a, b) =>
    a.key - b.key
  ).map(({ value }) => value);
}

function serviceDefinition(
  get: "served" | "disabled" | "missing",
): ServiceDefinition {
  const list = { List: methodDefinition("List") };
  return get === "missing" ? list : { ...list, Get: methodDefinition("Get") };
}

function methodDefinition(name: string): ServiceDefinition[string] {
  const passOn = (bytes: Uint8Array): Buffer => Buffer.from(bytes);
  return {
    path: `/v1.PodResourcesLister/${name}`,
    requestStream: false,
    responseStream: false,
    requestSerialize: passOn,
    requestDeserialize: passOn,
    responseSerialize: passOn,
    responseDeserialize: passOn,
  };
}

async function stop(server: Server, state: KubeletState): Promise<void> {
  state.release();
  const { promise, resolve } = Promise.withResolvers<void>();
  server.tryShutdown(() => resolve());
  server.forceShutdown();
  await promise;
}
