import { deepEqual, equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { redactText, redactValue, REMOVED } from "./secrets.ts";

Deno.test("redactText() takes out what is secret by its form", async (t) => {
  const token = `eyJhbGciOiJ.${"x".repeat(20)}.${"y".repeat(20)}`;
  const rows: readonly (readonly [text: string, expected: string])[] = [
    ["nothing of interest", "nothing of interest"],
    [`asked with ${token}`, `asked with ${REMOVED}`],
    ["Authorization: Bearer abcdefghijkl", `Authorization: ${REMOVED}`],
    ["password=hunter2 user=me", `password=${REMOVED} user=me`],
    ['line "token": "abc def", more', `line "token": ${REMOVED}, more`],
    ["https://me:hunter2@proxy:3128/", `https://${REMOVED}@proxy:3128/`],
    [
      "a\n-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\nb",
      `a\n${REMOVED}\nb`,
    ],
    ["-----BEGIN PRIVATE KEY-----\nMII cut off", REMOVED],
  ];
  for (const [text, expected] of rows) {
    await t.step(text.slice(0, 30), () => equal(redactText(text), expected));
  }
});

Deno.test("redactValue() takes out what is secret by its name, in texts of JSON too", () => {
  const config = JSON.stringify({ type: "wifi", psk: "hunter2", mtu: 1400 });
  deepEqual(
    redactValue({
      spec: { config },
      list: [{ apiKey: "k", tokenFile: "/run/token", hasToken: true }],
      clientKeyData: "abc",
      credentials: { user: "me" },
      name: "key-west",
    }),
    {
      spec: {
        config: JSON.stringify({ type: "wifi", psk: REMOVED, mtu: 1400 }),
      },
      list: [{ apiKey: REMOVED, tokenFile: "/run/token", hasToken: true }],
      clientKeyData: REMOVED,
      credentials: REMOVED,
      name: "key-west",
    },
  );
});

Deno.test("redactValue() leaves no password in any nesting", () => {
  const secret = "s3cr3t-value";
  const nested = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constant({ password: secret }),
      fc.array(tie("value"), { maxLength: 3 }),
      fc.record({
        inner: tie("value"),
        text: tie("value").map((v) => JSON.stringify(v)),
      }),
    ),
  })).value;
  fc.assert(fc.property(nested, (value) => {
    ok(!JSON.stringify(redactValue(value)).includes(secret));
  }));
});
