/**
 * Keeps the proxy variables of the environment away from what talks to the cluster.
 * Deno's HTTP clients take them when they are made, whatever their options and
 * whatever environment is granted; so the variables are taken out for that moment
 * and put back. A proxy named in the kubeconfig is another matter and is used.
 *
 * @module
 */

/** The names that Deno's HTTP client looks at; each needs an `env` grant to be taken out. */
export const PROXY_ENV = [
  "HTTP_PROXY",
  "HTTPS_PROXY",
  "ALL_PROXY",
  "http_proxy",
  "https_proxy",
  "all_proxy",
] as const;

/** Calls `make`, which must not wait, with no proxy variables in the environment. */
export function withoutProxyEnvironment<T>(make: () => T): T {
  const taken = PROXY_ENV.flatMap((name): [string, string][] => {
    const value = readEnv(name);
    return value === undefined ? [] : [[name, value]];
  });
  for (const [name] of taken) Deno.env.delete(name);
  try {
    return make();
  } finally {
    for (const [name, value] of taken) Deno.env.set(name, value);
  }
}

/** A name that is not granted cannot be taken out, and is none of this module's business. */
function readEnv(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}
