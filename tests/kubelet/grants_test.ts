/** Which permissions it takes to ask the kubelet: these, and none of them can be left out. */

import { match, notStrictEqual, strictEqual } from "node:assert/strict";
import * as path from "node:path";
import { startFakeKubelet } from "./fake_kubelet.ts";

const PROGRAM = path.join(import.meta.dirname ?? "", "ask_devices.ts");
const CONFIG = path.join(import.meta.dirname ?? "", "../../deno.json");

Deno.test("createDeviceAllocator() needs three grants for the socket, and no environment", async (t) => {
  const dir = await Deno.makeTempDir();
  try {
    const pod = {
      namespace: "default",
      name: "web",
      containers: { app: { "x/y": ["1"] } },
    };
    await using kubelet = await startFakeKubelet(dir, { pods: [pod] });
    const grants = [
      `--allow-read=${kubelet.socket}`,
      `--allow-write=${kubelet.socket}`,
      `--allow-net=unix:${kubelet.socket}`,
      "--ignore-env",
    ];
    await t.step("all", async () => {
      const { code, stdout, stderr } = await ask(kubelet.socket, {
        grants,
        timeoutMs: 20_000,
      });
      strictEqual(code, 0, stderr);
      strictEqual(stdout, '{"x/y":["1"]}');
    });
    for (const missing of grants) {
      await t.step(`all but ${missing.split("=")[0]}`, async () => {
        const others = grants.filter((grant) => grant !== missing);
        const { code, stderr } = await ask(kubelet.socket, {
          grants: others,
          timeoutMs: 1_000,
        });
        notStrictEqual(code, 0);
        match(stderr, /Requires|EACCES|EPERM|permission|No connection/i);
      });
    }
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

Deno.test("createDeviceAllocator() reads the checkpoint with read permission alone", async () => {
  const dir = await Deno.makeTempDir();
  try {
    const entry = {
      PodUID: "uid-1",
      ContainerName: "app",
      ResourceName: "x/y",
      DeviceIDs: { "0": ["1"] },
    };
    await Deno.writeTextFile(
      `${dir}/checkpoint`,
      JSON.stringify({ Data: { PodDeviceEntries: [entry] } }),
    );
    const grants = [`--allow-read=${dir}/kubelet.sock,${dir}/checkpoint`];
    const { code, stdout, stderr } = await ask(`${dir}/kubelet.sock`, {
      grants,
      timeoutMs: 20_000,
    });
    strictEqual(code, 0, stderr);
    strictEqual(stdout, '{"x/y":["1"]}');
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
});

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function ask(
  socket: string,
  { grants, timeoutMs }: { grants: readonly string[]; timeoutMs: number },
): Promise<Outcome> {
  const checkpoint = path.join(path.dirname(socket), "checkpoint");
  const fixed = [
    "run",
    "--quiet",
    "--no-prompt",
    "--no-check",
    "--cached-only",
    `--config=${CONFIG}`,
  ];
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...fixed, ...grants, PROGRAM, socket, checkpoint, String(timeoutMs)],
  }).output();
  const decoder = new TextDecoder();
  return {
    code,
    stdout: decoder.decode(stdout),
    stderr: decoder.decode(stderr),
  };
}
