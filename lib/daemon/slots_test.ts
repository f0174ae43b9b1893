import assert from "node:assert/strict";
import fc from "fast-check";
import { defaultAddSlots, readMachine } from "./slots.ts";

const MIB = 1024 * 1024;

Deno.test("defaultAddSlots() goes by processors, memory and connectionLimit", () => {
  const table = [
    [{ cpus: 1 }, 4],
    [{ cpus: 2 }, 8],
    [{ cpus: 64 }, 32],
    [{ cpus: 2, memoryLimitBytes: 50 * MIB }, 1],
    [{ cpus: 2, memoryLimitBytes: 500 * MIB }, 3],
    [{ cpus: 2, memoryLimitBytes: 16_384 * MIB }, 8],
    // What constrainedMemory says where there is no limit.
    [{ cpus: 2, memoryLimitBytes: 9_223_372_036_854_772_000 }, 8],
    [{ cpus: 2, connectionLimit: 20 }, 20],
    [{ cpus: 2, connectionLimit: 0 }, 8],
  ] as const;
  for (const [machine, slots] of table) {
    assert.equal(defaultAddSlots(machine), slots, JSON.stringify(machine));
  }
});

Deno.test("defaultAddSlots() is a whole number of places that memory holds, at least one", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 512 }),
      fc.integer({ min: 1, max: 1_000_000 }),
      (cpus, mebibytes) => {
        const memoryLimitBytes = mebibytes * MIB;
        const slots = defaultAddSlots({ cpus, memoryLimitBytes });
        assert.ok(Number.isInteger(slots) && slots >= 1 && slots <= 32);
        const needed = (150 + 2 * slots * 56) * MIB;
        assert.ok(slots === 1 || needed <= memoryLimitBytes);
      },
    ),
  );
});

Deno.test("readMachine() knows the memory limit only when it may", async () => {
  const script = `
    const { readMachine } = await import(${
    JSON.stringify(new URL("./slots.ts", import.meta.url).href)
  });
    const { cpus, memoryLimitBytes } = readMachine();
    if (!(cpus >= 1)) throw new RangeError(String(cpus));
    if (memoryLimitBytes !== undefined) throw new RangeError("Knows the limit");`;
  const path = await Deno.makeTempFile({ suffix: ".ts" });
  try {
    await Deno.writeTextFile(path, script);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-config", path],
    }).output();
    assert.ok(success, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(path);
  }
  assert.ok(readMachine().cpus >= 1);
});
