/** What every layer of `Redis.Redis` has to do, so that Effect's stores run on it. */
import { describe } from "@effect/vitest"
import { commands } from "./commands.ts"
import { limits } from "./limits.ts"
import { queues } from "./queues.ts"
import { reservations } from "./reservations.ts"
import { scopes } from "./scopes.ts"
import { scripts } from "./scripts.ts"
import { storage } from "./storage.ts"
import type { Choices, LayerOf } from "./subject.ts"
import { subscriptions } from "./subscriptions.ts"

/** Checks a layer against the whole contract. */
export const contract = (name: string, layerOf: LayerOf, choices: Choices): void => {
  const parts = [commands, scripts, subscriptions, reservations, limits, storage, queues, scopes]
  describe(name, () => {
    for (const part of parts) part({ layerOf, choices })
  })
}
