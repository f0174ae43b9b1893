/**
 * A certificate authority that lives in memory, for servers that tests talk to
 * over real TLS. Nothing of it is ever written to disk, and nothing of it is good
 * for anything but tests.
 *
 * @module
 */
import "../../lib/kube/reflect_metadata.ts";
import * as x509 from "@peculiar/x509";
import { isIP } from "node:net";

/** A certificate and its private key, both as PEM text. */
export interface CertificatePair {
  readonly certPem: string;
  readonly keyPem: string;
}

/** What may be asked of an issued certificate. */
export interface IssueOptions {
  /** IP addresses and DNS names that the certificate stands for. */
  readonly hosts: readonly string[];
  /** How long it is valid, from now. */
  readonly validMs?: number;
}

/** Signs certificates with a key of its own. */
export interface CertificateAuthority {
  readonly caPem: string;
  /** Makes a key pair and a server certificate for it. */
  issue(options: IssueOptions): Promise<CertificatePair>;
  /** Signs a PEM certificate signing request as a client certificate. */
  signRequest(
    requestPem: string,
    options: { validMs: number },
  ): Promise<string>;
}

const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
/** Keys are handed out as PEM. */
const EXTRACTABLE = true;
/** No test runs longer than a day. */
const VALID_MS = 24 * 3600 * 1000;
/** Clocks of one machine agree, but certificates carry whole seconds only. */
const CLOCK_SKEW_MS = 60_000;

/** Makes a new authority with a new key. */
export async function createCertificateAuthority(
  name: string,
): Promise<CertificateAuthority> {
  const keys = await generateKeys();
  const ca = await x509.X509CertificateGenerator.createSelfSigned({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
    ...validity(VALID_MS),
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(
        x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign,
        true,
      ),
    ],
  });
  const signer = { ca, signingKey: keys.privateKey };
  return {
    caPem: `${ca.toString("pem")}\n`,
    issue: (options) => issue(signer, options),
    signRequest: (requestPem, options) =>
      signRequest(signer, requestPem, options),
  };
}

/** Makes a key and a request to certify it, as PEM, for who wants a client certificate. */
export async function createSigningRequest(
  name: string,
): Promise<{ requestPem: string; keyPem: string }> {
  const keys = await generateKeys();
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${name}`,
    keys,
    signingAlgorithm: ALGORITHM,
  });
  return {
    requestPem: `${request.toString("pem")}\n`,
    keyPem: await toKeyPem(keys.privateKey),
  };
}

interface Signer {
  readonly ca: x509.X509Certificate;
  readonly signingKey: CryptoKey;
}

async function issue(
  signer: Signer,
  options: IssueOptions,
): Promise<CertificatePair> {
  const keys = await generateKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    subject: "CN=api-server",
    issuer: signer.ca.subject,
    publicKey: keys.publicKey,
    signingKey: signer.signingKey,
    signingAlgorithm: ALGORITHM,
    ...validity(options.validMs ?? VALID_MS),
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(
        options.hosts.map(toGeneralName),
      ),
    ],
  });
  return {
    certPem: `${certificate.toString("pem")}\n`,
    keyPem: await toKeyPem(keys.privateKey),
  };
}

async function signRequest(
  signer: Signer,
  requestPem: string,
  options: { validMs: number },
): Promise<string> {
  const request = new x509.Pkcs10CertificateRequest(requestPem);
  const certificate = await x509.X509CertificateGenerator.create({
    subject: request.subject,
    issuer: signer.ca.subject,
    publicKey: await request.publicKey.export(),
    signingKey: signer.signingKey,
    signingAlgorithm: ALGORITHM,
    ...validity(options.validMs),
    extensions: [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
    ],
  });
  return `${certificate.toString("pem")}\n`;
}

async function generateKeys(): Promise<CryptoKeyPair> {
  return await crypto.subtle.generateKey(ALGORITHM, EXTRACTABLE, [
    "sign",
    "verify",
  ]) as CryptoKeyPair;
}

async function toKeyPem(key: CryptoKey): Promise<string> {
  const bytes = await crypto.subtle.exportKey("pkcs8", key);
  return `${x509.PemConverter.encode(bytes, "PRIVATE KEY")}\n`;
}

function validity(validMs: number): { notBefore: Date; notAfter: Date } {
  const now = Date.now();
  return {
    notBefore: new Date(now - CLOCK_SKEW_MS),
    notAfter: new Date(now + validMs),
  };
}

function toGeneralName(host: string): { type: "ip" | "dns"; value: string } {
  return { type: isIP(host) === 0 ? "dns" : "ip", value: host };
}
