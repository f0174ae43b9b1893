import { deepEqual, match } from "node:assert/strict";
import type { DoctorContext } from "./doctor_context.ts";
import { checkNamespaces } from "./doctor_node.ts";

/** A host's root with one namespace of that name in its directory, a plain file: as in a pod that no mount reaches. */
async function withHostRoot(
  use: (hostRoot: string) => Promise<void>,
): Promise<void> {
  const hostRoot = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${hostRoot}/run/netns`, { recursive: true });
    await Deno.writeTextFile(`${hostRoot}/run/netns/cni-1`, "");
    await use(hostRoot);
  } finally {
    await Deno.remove(hostRoot, { recursive: true });
  }
}

function contextOf(hostRoot: string, netns: string): DoctorContext {
  const pod = { namespace: "default", name: "web", uid: "u" };
  const record = { containerId: "c", netns, pod, attachments: [] };
  return {
    view: { profile: { hostRoot } },
    records: { value: [record] },
  } as unknown as DoctorContext;
}

Deno.test("checkNamespaces() finds a namespace whose mount is not seen", async (t) => {
  const rows: readonly (readonly [netns: string, findings: number])[] = [
    ["/var/run/netns/cni-1", 1],
    ["/run/netns/cni-1", 1],
    ["/run/netns/gone", 0],
    ["/proc/7/ns/net", 0],
    ["", 0],
  ];
  await withHostRoot(async (hostRoot) => {
    for (const [netns, count] of rows) {
      await t.step(netns || "none", async () => {
        const findings = await checkNamespaces(contextOf(hostRoot, netns));
        deepEqual(findings.length, count);
        for (const { message, remedy = "" } of findings) {
          match(message, /The namespace of pod default\/web is not seen/);
          match(remedy, /HostToContainer/);
        }
      });
    }
  });
});
