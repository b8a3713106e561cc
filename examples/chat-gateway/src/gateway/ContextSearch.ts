/**
 * What a chat is about: vector search, or what that found before, or a walk through a small graph in process, or nothing. The
 * chat always goes on, and its answer names the source.
 *
 * A search that takes long is hedged by the policy of its service; one that takes longer is left behind for what the cache has.
 */
import { ServiceClient } from "@failsoft/http"
import { Context, Data, Effect, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { PolicyConfig, StaleCache } from "failsoft"
import { answerOf, ChromaService, type WireError } from "./Services.ts"

const Document = Schema.Struct({ id: Schema.String, text: Schema.String })
const Found = Schema.Struct({ documents: Schema.Array(Document) })

/** Documents, and where they came from. */
export interface ChatContext {
  readonly source: "live" | "stale" | "graph" | "none"
  readonly documents: ReadonlyArray<typeof Document.Type>
}

const wanted = 3

/** The search for context. */
export class ContextSearch extends Context.Service<
  ContextSearch,
  {
    /** Up to three documents about a text. Never fails for want of the vector search. */
    readonly search: (text: string) => Effect.Effect<ChatContext, WireError>
  }
>()("gateway/ContextSearch") {}

/** The vector search answered, and not with documents. */
class NoDocuments extends Data.TaggedError("NoDocuments") {}

/** Context by vector search, else from the cache, else by the graph. */
export const layer = Layer.effect(
  ContextSearch,
  Effect.gen(function* () {
    const chroma = yield* ChromaService

    const searchNow = (text: string) =>
      chroma
        .execute(
          HttpClientRequest.post("/query").pipe(HttpClientRequest.bodyJsonUnsafe({ text, limit: wanted }))
        )
        .pipe(
          ServiceClient.idempotent,
          answerOf(Found),
          Effect.flatMap((found) =>
            found === undefined ? Effect.fail(new NoDocuments()) : Effect.succeed(found.documents)
          )
        )

    // What was found for one user is found for all: the text is all that the search depends on.
    const cache = yield* StaleCache.make({
      name: "context",
      lookup: searchNow,
      timeToLive: "30 seconds",
      isUnavailable: (error) => error._tag === "NoDocuments",
      sizeOf: (documents, text) =>
        2 * (text.length + documents.reduce((sum, { text }) => sum + text.length, 0)),
      ...StaleCache.fromConfig(yield* PolicyConfig.readConfig(StaleCache.ConfigSchema, "contextCache"))
    })

    return {
      search: (text) =>
        cache.getServed(text).pipe(
          Effect.map(
            ({ source, value }): ChatContext => ({
              source: source === "live" ? "live" : "stale",
              documents: value
            })
          ),
          Effect.catchTag("NoDocuments", () => Effect.sync(() => searchGraph(text))),
          chroma.policy.orElse(() => Effect.sync(() => searchGraph(text)))
        )
    }
  })
)

/** Words, the documents that explain them, and the words next to them. */
const graph: ReadonlyMap<string, { readonly text: string; readonly next: ReadonlyArray<string> }> = new Map([
  ["circuit", { text: "A circuit opens after failures and probes later.", next: ["retry", "fallback"] }],
  ["retry", { text: "A retry waits longer each time.", next: ["deadline"] }],
  ["deadline", { text: "A deadline says when the caller stops caring.", next: ["hedge"] }],
  ["fallback", { text: "A fallback answers in another way.", next: ["circuit"] }],
  ["hedge", { text: "A hedge asks twice and takes the first answer.", next: [] }]
])

/** Walks from the words of the text to their neighbours, nearest first. */
const searchGraph = (text: string): ChatContext => {
  const queue = text.toLowerCase().split(/\W+/)
  const seen = new Set<string>()
  const documents: Array<typeof Document.Type> = []
  for (let word = queue.shift(); word !== undefined && documents.length < wanted; word = queue.shift()) {
    const node = graph.get(word)
    if (node === undefined || seen.has(word)) continue
    seen.add(word)
    documents.push({ id: word, text: node.text })
    queue.push(...node.next)
  }
  return { source: documents.length === 0 ? "none" : "graph", documents }
}
