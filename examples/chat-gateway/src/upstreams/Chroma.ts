/**
 * The stand-in for the vector search: a score is the share of the query's words that a document has.
 */
import type { Definition } from "./Definition.ts"

const documents = [
  "A circuit breaker stops calling a service that keeps failing",
  "An open circuit rejects calls at once and lets a probe through later",
  "A retry waits longer after each attempt, with jitter",
  "A deadline says when the caller stops caring about the answer",
  "A bulkhead bounds how many calls to one service run at once",
  "A fallback answers when the service cannot",
  "Shedding load early keeps the rest of the requests fast",
  "Failing open lets a call through when its guard is down",
  "Failing closed refuses a call when its guard is down",
  "A hedge sends a second attempt and takes the first answer"
].map((text, index) => ({ id: `doc-${index + 1}`, text }))

const wordsOf = (text: string): Set<string> => new Set(text.toLowerCase().match(/\p{L}+/gu))

const shareOf = (wanted: Set<string>, words: Set<string>): number =>
  [...wanted].filter((word) => words.has(word)).length / Math.max(1, wanted.size)

/** `POST /query`. */
export const Chroma: Definition = {
  name: "chroma",
  routes: () => ({
    "POST /query": ({ body: { text, limit = 3 } }) => {
      if (typeof text !== "string") return [400, { error: "text must be a string" }]
      if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1) {
        return [400, { error: "limit must be a whole number, at least 1" }]
      }
      const wanted = wordsOf(text)
      const found = documents
        .map((document) => ({ ...document, score: shareOf(wanted, wordsOf(document.text)) }))
        .filter(({ score }) => score > 0)
        .sort((a, b) => b.score - a.score)
      return [200, { documents: found.slice(0, limit) }]
    }
  })
}
