/** Real Redis servers and a TCP fault proxy, for tests. */
export * as FaultProxy from "./FaultProxy.ts"
export * as RedisServer from "./RedisServer.ts"
