import { deepEqual } from "node:assert/strict";
import { judgeExpiry } from "./doctor_api.ts";

Deno.test("judgeExpiry() warns before, and finds an error after", async (t) => {
  const hour = 3_600_000;
  const rows: readonly (readonly [leftMs: number, severities: string[]])[] = [
    [30 * hour, []],
    [20 * hour, ["warning"]],
    [-1, ["error"]],
  ];
  for (const [leftMs, severities] of rows) {
    await t.step(`${leftMs} ms left`, () => {
      const findings = judgeExpiry(Date.now() + leftMs, {
        what: "token",
        subject: "the token",
        warnMs: 24 * hour,
      });
      deepEqual(findings.map(({ severity }) => severity), severities);
    });
  }
});
