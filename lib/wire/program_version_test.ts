import { equal } from "node:assert/strict";
import manifest from "../../deno.json" with { type: "json" };
import { PROGRAM_VERSION } from "./program_version.ts";

Deno.test("PROGRAM_VERSION is the one of deno.json", () => {
  equal(PROGRAM_VERSION, manifest.version);
});
