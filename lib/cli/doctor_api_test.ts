import { deepEqual, match } from "node:assert/strict";
import { checkClock, judgeExpiry } from "./doctor_api.ts";
import type { DoctorContext } from "./doctor_context.ts";

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

/** A server whose clock is off by so much, as the check sees it. */
async function withServer(
  offsetMs: number,
  use: (context: DoctorContext) => Promise<void>,
): Promise<void> {
  await using server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => {
      const date = new Date(Date.now() + offsetMs).toUTCString();
      return new Response("{}", { headers: { date } });
    },
  );
  using client = Deno.createHttpClient({});
  const connect = (): Promise<unknown> =>
    Promise.resolve({
      server: `http://127.0.0.1:${server.addr.port}`,
      client,
      headers: {},
    });
  const link = { value: { credentials: { connect } } };
  const signal = AbortSignal.timeout(10_000);
  await use({ link, signal } as unknown as DoctorContext);
}

Deno.test("checkClock() tells how far the clocks are apart, and how bad that is", async (t) => {
  const rows: readonly (readonly [offsetMs: number, severities: string[]])[] = [
    [0, []],
    [-60_000, ["warning"]],
    [600_000, ["error"]],
  ];
  for (const [offsetMs, severities] of rows) {
    await t.step(
      `${offsetMs} ms`,
      () =>
        withServer(offsetMs, async (context) => {
          const findings = await checkClock(context);
          deepEqual(findings.map(({ severity }) => severity), severities);
          for (const { message } of findings) match(message, /differ by \d+ s/);
        }),
    );
  }
});
