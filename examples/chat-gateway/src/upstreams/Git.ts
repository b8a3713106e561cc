/**
 * The stand-in for the git service: the last commits of each project.
 */
import type { Definition } from "./Definition.ts"

const commits = new Map([
  [
    "p-1",
    [
      { hash: "9f2c1ab", author: "ada@example.org", message: "Add note G", date: "2025-03-02T10:15:00Z" },
      { hash: "41d07ee", author: "ada@example.org", message: "Begin", date: "2025-03-01T09:00:00Z" }
    ]
  ],
  ["p-2", [{ hash: "c03b5d8", author: "alan@example.org", message: "Begin", date: "2025-02-11T16:40:00Z" }]]
])

/** `GET /projects/:id/commits`. */
export const Git: Definition = {
  name: "git",
  routes: () => ({
    "GET /projects/:id/commits": ({ param }) => {
      const found = commits.get(param("id"))
      return found === undefined ? [404, { error: "no such project" }] : [200, { commits: found }]
    }
  })
}
