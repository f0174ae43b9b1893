// The least that a Deno program can do: the floor of the shim.
Deno.exit(0);
