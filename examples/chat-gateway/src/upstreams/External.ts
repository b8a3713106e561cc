/**
 * The stand-in for a provider of external data: a few facts by topic.
 */
import type { Definition } from "./Definition.ts"

const topics = new Map<string, unknown>([
  ["weather", { place: "London", celsius: 14, sky: "overcast" }],
  ["rates", { base: "EUR", usd: 1.08, gbp: 0.86 }],
  ["news", { headlines: ["Engine computes Bernoulli numbers", "Machine plays chess"] }]
])

/** `GET /data/:topic`. */
export const External: Definition = {
  name: "external",
  routes: () => ({
    "GET /data/:topic": ({ param }) => {
      const topic = param("topic")
      const data = topics.get(topic)
      return data === undefined ? [404, { error: "no such topic" }] : [200, { topic, data }]
    }
  })
}
