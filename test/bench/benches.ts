import { core } from "./core.ts"
import type { Bench } from "./model.ts"
import { redis } from "./redis/redis.ts"

/** The benches by the name that `pnpm bench` takes. */
export const benches: Readonly<Record<string, Bench>> = { core, redis }
