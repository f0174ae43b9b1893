import { equal, ok } from "node:assert/strict";
import fc from "fast-check";
import { createCertificateAuthority } from "../../tests/api_server/certificates.ts";
import { certificateExpiryMs, tokenExpiryMs } from "./credential_expiry.ts";

function jwt(payload: string): string {
  const part = (text: string): string =>
    btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return [part('{"alg":"RS256"}'), part(payload), "c2ln"].join(".");
}

const TOKENS: readonly [string, string, number | undefined][] = [
  ["a token of a service account", jwt('{"exp":1800000000}'), 1.8e12],
  ["a payload with - and _", jwt('{"exp":1800000000,"a":"~~~???>>>"}'), 1.8e12],
  ["a token that does not end", jwt('{"sub":"x"}'), undefined],
  ["an end that is a text", jwt('{"exp":"1800000000"}'), undefined],
  ["a payload that is no object", jwt("null"), undefined],
  ["a payload that is no JSON", jwt("{"), undefined],
  ["a token of another kind", "abcdef.0123456789abcdef", undefined],
  ["no token", "", undefined],
];

Deno.test("tokenExpiryMs() reads when a token ends", async (t) => {
  for (const [name, token, expected] of TOKENS) {
    await t.step(name, () => equal(tokenExpiryMs(token), expected));
  }
});

const DAY_MS = 24 * 60 * 60_000;

Deno.test("certificateExpiryMs() reads when a certificate ends, before and after 2050", async (t) => {
  const authority = await createCertificateAuthority("expiry");
  for (const days of [1, 400, 20_000]) {
    await t.step(`${days} days`, async () => {
      const before = Date.now();
      const { certPem } = await authority.issue({
        hosts: ["127.0.0.1"],
        validMs: days * DAY_MS,
      });
      const expiry = certificateExpiryMs(certPem) ?? 0;
      // A certificate counts in seconds.
      ok(expiry >= before + days * DAY_MS - 1_000, new Date(expiry).toJSON());
      ok(expiry <= Date.now() + days * DAY_MS, new Date(expiry).toJSON());
    });
  }
});

Deno.test("certificateExpiryMs() says nothing of what it cannot read, and never throws", () => {
  equal(certificateExpiryMs(""), undefined);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 60 }), (bytes) => {
    const body = btoa(String.fromCharCode(0x30, ...bytes));
    const pem =
      `-----BEGIN CERTIFICATE-----\n${body}\n-----END CERTIFICATE-----`;
    const expiry = certificateExpiryMs(pem);
    ok(expiry === undefined || Number.isFinite(expiry));
  }));
});
