/** Redis for Effect that cannot take an application down. */
export * as Command from "./Command.ts"
export * as IoRedis from "./IoRedis.ts"
export * as MemoryRedis from "./MemoryRedis.ts"
export * as RedisConfig from "./RedisConfig.ts"
export * as RedisFailure from "./RedisFailure.ts"
export * as RedisViews from "./RedisViews.ts"
export * as ResilientRedis from "./ResilientRedis.ts"
