/**
 * The profile that the build left beside `multusctl`: where this node's
 * directories, socket and API server are. Commands that look at a node begin
 * with it.
 *
 * Needs: read of the directory of the executables.
 */
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Profile } from "../grants.ts";
import { type CliWorld, type Parameter, UsageError } from "./command.ts";
import { parseProfile, PROFILE_NAME } from "./profile.ts";

/** The option by which another profile is given. */
export const PROFILE_OPTION: Parameter = {
  syntax: "--profile <file>",
  summary: "the node's profile, if not the one beside multusctl",
};

/**
 * Reads the profile given, or the one beside multusctl.
 *
 * @throws {UsageError} when there is none.
 * @throws {SyntaxError} {TypeError} when it cannot be understood.
 */
export async function readOwnProfile(
  given: string | undefined,
  world: Pick<CliWorld, "programDir">,
): Promise<Profile> {
  const path = given ?? join(world.programDir ?? ownDir(), PROFILE_NAME);
  try {
    return parseProfile(await Deno.readTextFile(path), {});
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    throw new UsageError(
      `No profile of this node, say which is meant with --profile: ${path}`,
    );
  }
}

/** A launcher is its own main module; a compiled program's modules lie inside it. */
function ownDir(): string {
  return dirname(
    Deno.build.standalone ? Deno.execPath() : fileURLToPath(Deno.mainModule),
  );
}
