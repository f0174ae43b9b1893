import { deepEqual, equal } from "node:assert/strict";
import type { AutoConfigEvent } from "./auto_config_state.ts";
import { toNodeEvent } from "./node_events.ts";

Deno.test("toNodeEvent() warns of what keeps pods from their networks", async (t) => {
  const kinds = [
    ["not-effective", "MultusNotEffective"],
    ["primary-missing", "DefaultNetworkMissing"],
    ["indicator-missing", "DefaultNetworkNotReady"],
  ] as const;
  for (const [kind, reason] of kinds) {
    await t.step(kind, () => {
      const event: AutoConfigEvent = { kind, message: "why", isWarning: true };
      deepEqual(toNodeEvent(event), {
        type: "Warning",
        reason,
        message: "why",
      });
    });
  }
});

Deno.test("toNodeEvent() says when it is over", async (t) => {
  const kinds = [
    ["effective", "MultusEffective"],
    ["repaired", "MultusConfigurationRepaired"],
    ["primary-back", "DefaultNetworkBack"],
    ["indicator-back", "DefaultNetworkReady"],
  ] as const;
  for (const [kind, reason] of kinds) {
    await t.step(kind, () => {
      const event: AutoConfigEvent = { kind, message: "so", isWarning: false };
      deepEqual(toNodeEvent(event), { type: "Normal", reason, message: "so" });
    });
  }
});

Deno.test("toNodeEvent() leaves to the log what every start of a daemon brings", () => {
  for (const kind of ["chosen", "written"] as const) {
    equal(toNodeEvent({ kind, message: "so", isWarning: false }), undefined);
  }
});
