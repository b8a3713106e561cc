/**
 * What a chat is about: vector search, or a walk through a small graph in process, or nothing. The chat always goes on,
 * and its answer names the source.
 */
import { ServiceClient } from "@failsoft/http"
import { Context, Effect, Layer, Schema } from "effect"
import { HttpClientRequest } from "effect/http"
import { answerOf, ChromaService, type WireError } from "./Services.ts"

const Document = Schema.Struct({ id: Schema.String, text: Schema.String })
const Found = Schema.Struct({ documents: Schema.Array(Document) })

/** Documents, and where they came from. */
export interface ChatContext {
  readonly source: "live" | "graph" | "none"
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

/** Context by vector search, else by the graph. */
export const layer = Layer.effect(
  ContextSearch,
  Effect.gen(function* () {
    const chroma = yield* ChromaService
    return {
      search: (text) =>
        chroma
          .execute(
            HttpClientRequest.post("/query").pipe(HttpClientRequest.bodyJsonUnsafe({ text, limit: wanted }))
          )
          .pipe(
            ServiceClient.idempotent,
            answerOf(Found),
            Effect.map(
              (found): ChatContext =>
                found === undefined ? searchGraph(text) : { source: "live", documents: found.documents }
            ),
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
