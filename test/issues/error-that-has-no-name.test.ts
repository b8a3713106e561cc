/** Writing a `ServiceUnavailable` as JSON, as loggers do, threw where the last error had something else in the place of its name. */
import { ServiceUnavailable, UnavailableReason } from "failsoft"
import { expect, it } from "vitest"

const gone = Proxy.revocable({}, {})
gone.revoke()

it.each<readonly [string, unknown, { readonly tag?: string; readonly name: string }]>([
  ["a name that is a number", Object.assign(new Error("no"), { name: 5 }), { name: "Object" }],
  ["a class whose name is a number", { constructor: { name: 42 } }, { name: "Object" }],
  ["no class", { constructor: undefined }, { name: "Object" }],
  ["a tag that is a number", { _tag: 7 }, { name: "Object" }],
  [
    "a tag that throws",
    {
      get _tag() {
        throw new Error("secret")
      }
    },
    { name: "Object" }
  ],
  [
    "a name that throws",
    Object.defineProperty(new Error("no"), "name", {
      get: () => {
        throw new Error("secret")
      }
    }),
    { name: "Object" }
  ],
  ["nothing that can be read", gone.proxy, { name: "Object" }]
])("an error with %s is told all the same", (_, lastError, expected) => {
  const error = new ServiceUnavailable({
    service: "billing",
    reason: UnavailableReason.RetriesExhausted({ attempts: 2, lastError })
  })
  expect(JSON.parse(JSON.stringify(error))).toMatchObject({ reason: { lastError: expected } })
})
