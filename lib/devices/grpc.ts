/**
 * What is used of the gRPC library, which is loaded with the first connection.
 *
 * @module
 */
import { Client, credentials } from "@grpc/grpc-js";

/** As the library has them. */
export default { Client, credentials };
