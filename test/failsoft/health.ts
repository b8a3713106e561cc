import { Effect } from "effect"
import { Health } from "failsoft"

/** What the circuits that stand by themselves look like now, in the order of their registration. */
export const circuits = Effect.flatMap(Health.Health, ({ components }) =>
  Effect.flatMap(
    components,
    Effect.forEach((component) =>
      component._tag === "Circuit" ? component.circuit : Effect.die(`${component.name} is no circuit`)
    )
  )
)

/** What the degradable Layers look like now, in the order of their registration. */
export const layers = Effect.flatMap(Health.Health, ({ components }) =>
  Effect.flatMap(
    components,
    Effect.forEach((component) =>
      component._tag === "Layer" ? component.layer : Effect.die(`${component.name} is no Layer`)
    )
  )
)
