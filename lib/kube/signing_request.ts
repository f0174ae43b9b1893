/**
 * Keys, certificate signing requests (PKCS #10), and what is read of the
 * certificates that come back: made by WebCrypto, put into form by the X.509
 * library. It asks nobody for a signature, and keeps nothing.
 *
 * @module
 */
import "./reflect_metadata.ts";
import * as x509 from "@peculiar/x509";

/** A request to sign, and the key that it was made with. */
export interface SigningRequest {
  /** The request as PEM. */
  readonly requestPem: string;
  /** The private key as PEM (PKCS #8). */
  readonly keyPem: string;
}

/** Who a certificate is to stand for. */
export interface RequestedSubject {
  /** The user, in Kubernetes' eyes. */
  readonly commonName: string;
  /** The user's group. */
  readonly organization: string;
}

/** A certificate with its key. */
export interface ClientPair {
  /** Common name of the subject. */
  readonly commonName: string;
  /** From when on it is valid. */
  readonly notBefore: Date;
  /** Until when. */
  readonly notAfter: Date;
}

// What every API server takes, with the smallest keys.
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };
/** Keys go into a file. */
const EXTRACTABLE = true;
const KEY_BLOCK = /-----BEGIN PRIVATE KEY-----[^-]+-----END PRIVATE KEY-----/;
const CERTIFICATE_BLOCK =
  /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/;

/** Makes a key and a request for a client certificate. */
export async function createSigningRequest(
  { commonName, organization }: RequestedSubject,
): Promise<SigningRequest> {
  const keys = await crypto.subtle.generateKey(ALGORITHM, EXTRACTABLE, [
    "sign",
    "verify",
  ]) as CryptoKeyPair;
  const request = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ O: [organization] }, { CN: [commonName] }],
    keys,
    signingAlgorithm: ALGORITHM,
  });
  const key = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return {
    requestPem: `${request.toString("pem")}\n`,
    keyPem: `${x509.PemConverter.encode(key, "PRIVATE KEY")}\n`,
  };
}

/**
 * Reads a certificate and the key that belongs to it out of one PEM text, in any order.
 *
 * @throws {SyntaxError} when one of them is missing, only half there, or not the other's
 */
export async function readClientPair(pem: string): Promise<ClientPair> {
  const key = KEY_BLOCK.exec(pem)?.[0];
  const block = CERTIFICATE_BLOCK.exec(pem)?.[0];
  if (key === undefined || block === undefined) {
    throw new SyntaxError(
      `No whole ${block === undefined ? "certificate" : "key"} in PEM form`,
    );
  }
  const certificate = parseCertificate(block);
  if (!await belongsTo(key, certificate)) {
    throw new SyntaxError("Certificate and key do not belong together");
  }
  const [commonName = ""] = certificate.subjectName.getField("CN");
  const { notBefore, notAfter } = certificate;
  return { commonName, notBefore, notAfter };
}

function parseCertificate(pem: string): x509.X509Certificate {
  try {
    return new x509.X509Certificate(pem);
  } catch (cause) {
    throw new SyntaxError("Certificate cannot be decoded", { cause });
  }
}

/** What is signed by the one is verified by the other, or they are not a pair. */
async function belongsTo(
  keyPem: string,
  certificate: x509.X509Certificate,
): Promise<boolean> {
  try {
    const privateKey = await crypto.subtle.importKey(
      "pkcs8",
      x509.PemConverter.decodeFirst(keyPem),
      ALGORITHM,
      !EXTRACTABLE,
      ["sign"],
    );
    const publicKey = await certificate.publicKey.export(ALGORITHM, ["verify"]);
    const probe = new TextEncoder().encode("a pair");
    const signature = await crypto.subtle.sign(ALGORITHM, privateKey, probe);
    return await crypto.subtle.verify(ALGORITHM, publicKey, signature, probe);
  } catch (cause) {
    throw new SyntaxError("Key or certificate cannot be used", { cause });
  }
}
