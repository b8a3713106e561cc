/**
 * The stand-in for the auth service: who a person is, and who owns a project.
 *
 * Tokens are derived from the user, so that a restart keeps them valid. The key is in the source and protects
 * nothing.
 */
import { createHmac } from "node:crypto"
import type { Definition } from "./Definition.ts"

const users = [
  { userId: "user-1", email: "ada@example.org", password: "lovelace" },
  { userId: "user-2", email: "alan@example.org", password: "turing" }
]

const owners = new Map([
  ["p-1", "user-1"],
  ["p-2", "user-2"]
])

const tokenOf = (userId: string): string =>
  `${userId}.${createHmac("sha256", "stand-in demo key").update(userId).digest("base64url")}`

/** `POST /login`, `POST /verify`, `GET /projects/:id/owner`. */
export const Auth: Definition = {
  name: "auth",
  routes: () => ({
    "POST /login": ({ body }) => {
      const user = users.find(({ email, password }) => email === body.email && password === body.password)
      if (user === undefined) return [401, { error: "unknown email or wrong password" }]
      return [200, { token: tokenOf(user.userId), userId: user.userId }]
    },
    "POST /verify": ({ body }) => {
      const user = users.find(({ userId }) => tokenOf(userId) === body.token)
      if (user === undefined) return [401, { error: "invalid token" }]
      return [200, { userId: user.userId, email: user.email }]
    },
    "GET /projects/:id/owner": ({ param }) => {
      const ownerId = owners.get(param("id"))
      return ownerId === undefined ? [404, { error: "no such project" }] : [200, { ownerId }]
    }
  })
}
