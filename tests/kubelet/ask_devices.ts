/**
 * A program that does nothing but ask for the devices of the pod default/web, to be run with exact permissions:
 * `ask_devices.ts SOCKET CHECKPOINT TIMEOUT_MS`. Prints them as JSON.
 */

import { createDeviceAllocator } from "../../lib/devices/allocation.ts";

if (import.meta.main) {
  const [podResourcesSocket = "", checkpointFile = "", timeoutMs = "0"] =
    Deno.args;
  const allocator = createDeviceAllocator({
    podResourcesSocket,
    checkpointFile,
  });
  const pod = { namespace: "default", name: "web", uid: "uid-1" };
  const devices = await allocator.devicesOf(pod, {
    signal: AbortSignal.timeout(Number(timeoutMs)),
  });
  const answer = new TextEncoder().encode(
    JSON.stringify(Object.fromEntries(devices)),
  );
  await Deno.stdout.write(answer);
}
