import grpc from "@grpc/grpc-js";
import { Guard } from "./client.js";

// document: TLS and tokens

export default guard;
