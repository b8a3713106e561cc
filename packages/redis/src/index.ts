/** Redis for Effect that cannot take an application down. */
export * as IoRedis from "./IoRedis.ts"
export * as RedisConfig from "./RedisConfig.ts"
export * as RedisFailure from "./RedisFailure.ts"
