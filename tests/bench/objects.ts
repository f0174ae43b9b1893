/**
 * Objects as large as those of a real cluster: what a daemon reads and throws
 * away is part of what it costs.
 */

/** The node of the benchmark. */
export const NODE_NAME = "node-a";
/** The namespace of everything. */
export const NAMESPACE = "bench";

const NETWORKS = "k8s.v1.cni.cncf.io/networks";

/** The UID of a pod. */
export function uidOf(pod: string): string {
  return `0c4a5ed0-uid-${pod}`;
}

/** A container with what containers usually have: variables, mounts, probes, limits. */
function container(name: string): unknown {
  return {
    name,
    image: `registry.example.com/team/${name}:v1.2.3`,
    args: ["--listen=:8080", "--log-level=info", "--config=/etc/app/app.yaml"],
    env: Array.from({ length: 12 }, (_, at) => ({
      name: `SETTING_${at}`,
      value: `some value of a setting, number ${at}`,
    })),
    ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
    resources: {
      requests: { cpu: "100m", memory: "128Mi" },
      limits: { memory: "256Mi" },
    },
    volumeMounts: Array.from({ length: 4 }, (_, at) => ({
      name: `volume-${at}`,
      mountPath: `/var/lib/app/volume-${at}`,
    })),
    livenessProbe: { httpGet: { path: "/healthz", port: 8080 } },
    terminationMessagePath: "/dev/termination-log",
    imagePullPolicy: "IfNotPresent",
  };
}

function managedFields(manager: string): unknown {
  const fields = Object.fromEntries(
    Array.from({ length: 24 }, (_, at) => [`f:field${at}`, { ".": {} }]),
  );
  return {
    manager,
    operation: "Update",
    apiVersion: "v1",
    time: "2026-01-01T00:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: { "f:metadata": fields, "f:spec": fields },
  };
}

/** A pod of some 5 kB, on this node unless told otherwise. */
export function podObject(
  name: string,
  options: { networks?: string; nodeName?: string } = {},
): unknown {
  const { networks = "", nodeName = NODE_NAME } = options;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: {
      name,
      namespace: NAMESPACE,
      uid: uidOf(name),
      labels: { app: name, "pod-template-hash": "5d4f8c7b9" },
      annotations: {
        "example.com/checksum": "9f86d081884c7d659a2feaa0c55ad015",
        ...(networks === "" ? {} : { [NETWORKS]: networks }),
      },
      managedFields: [managedFields("controller"), managedFields("kubelet")],
    },
    spec: {
      nodeName,
      containers: [container("app"), container("sidecar")],
      volumes: Array.from({ length: 4 }, (_, at) => ({
        name: `volume-${at}`,
        configMap: { name: `settings-${at}`, defaultMode: 420 },
      })),
      serviceAccountName: "default",
      tolerations: [{ key: "node.kubernetes.io/not-ready" }],
    },
    status: { phase: "Pending", qosClass: "Burstable" },
  };
}

/** A NetworkAttachmentDefinition with one plugin's configuration. */
export function networkObject(name: string, plugin: unknown): unknown {
  return {
    apiVersion: "k8s.cni.cncf.io/v1",
    kind: "NetworkAttachmentDefinition",
    metadata: {
      name,
      namespace: NAMESPACE,
      managedFields: [managedFields("kubectl")],
    },
    spec: { config: JSON.stringify(plugin) },
  };
}

/** The configuration of the plugin that does nothing. */
export function noopConf(name: string): Record<string, unknown> {
  return {
    cniVersion: "1.0.0",
    name,
    type: "noop",
    ipam: {
      type: "none",
      ranges: [[{ subnet: "10.1.2.0/24", rangeStart: "10.1.2.10" }]],
    },
  };
}
