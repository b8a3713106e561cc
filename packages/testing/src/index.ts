/** Scripted dependencies and their histories, stand-ins for policies, real Redis servers and a TCP fault proxy, for tests. */
export * as Arbitraries from "./Arbitraries.ts"
export * as FaultProxy from "./FaultProxy.ts"
export { forceState, NotForced } from "./ForcedState.ts"
export * as History from "./History.ts"
export * as PolicyTest from "./PolicyTest.ts"
export * as RedisServer from "./RedisServer.ts"
export * as ScriptedDependency from "./ScriptedDependency.ts"
