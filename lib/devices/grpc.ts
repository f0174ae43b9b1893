/**
 * What is used of the gRPC library, which is loaded with the first connection.
 *
 * @module
 */
export { Client, credentials } from "@grpc/grpc-js";
