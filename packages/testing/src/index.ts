/** Real Redis servers, a TCP fault proxy, scripted dependencies and their histories, for tests. */
export * as FaultProxy from "./FaultProxy.ts"
export { forceState, NotForced } from "./ForcedState.ts"
export * as RedisServer from "./RedisServer.ts"
export * as ScriptedDependency from "./ScriptedDependency.ts"
