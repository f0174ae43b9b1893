import assert from "node:assert/strict";
import fc from "fast-check";
import { isInfinibandGuid, isMac } from "./hardware_address.ts";

const SIX = "02:00:5e:10:00:01";
const EIGHT = "24:8a:07:03:00:8d:ae:2e";
const TWENTY = new Array(20).fill("0a").join(":");

Deno.test("isMac() takes the forms that people write", async (t) => {
  const cases: [text: string, expected: boolean][] = [
    [SIX, true],
    [SIX.toUpperCase(), true],
    ["02-00-5e-10-00-01", true],
    ["0200.5e10.0001", true],
    [EIGHT, true],
    [TWENTY, true],
    ["", false],
    ["02", false],
    ["02:00:5e:10:00", false],
    ["02:00:5e:10:00:01:", false],
    ["02:00:5e:10:00:1", false],
    ["02:00:5e-10:00:01", false],
    ["02005e100001", false],
    ["0200.5e10", false],
    ["0200:5e10:0001", false],
    [`${SIX}\n`, false],
    ["02:00:5e:10:00:0g", false],
  ];
  for (const [text, expected] of cases) {
    await t.step(JSON.stringify(text), () => {
      assert.equal(isMac(text), expected);
    });
  }
});

Deno.test("isInfinibandGuid() takes eight octets only", async (t) => {
  const cases: [text: string, expected: boolean][] = [
    [EIGHT, true],
    ["248a.0703.008d.ae2e", true],
    [SIX, false],
    [TWENTY, false],
    ["", false],
  ];
  for (const [text, expected] of cases) {
    await t.step(text, () => assert.equal(isInfinibandGuid(text), expected));
  }
});

Deno.test("isMac() takes any octets in pairs when there are as many as a link has", () => {
  const octets = fc.array(fc.nat(255), { minLength: 1, maxLength: 24 });
  fc.assert(fc.property(octets, fc.constantFrom(":", "-"), (bytes, sign) => {
    const text = bytes.map((byte) => byte.toString(16).padStart(2, "0"))
      .join(sign);
    assert.equal(isMac(text), [6, 8, 20].includes(bytes.length));
  }));
});
