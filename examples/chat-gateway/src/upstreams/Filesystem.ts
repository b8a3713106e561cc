/**
 * The stand-in for the file service: the text files of each project.
 */
import type { Definition } from "./Definition.ts"

/** `GET /projects/:id/files`, `GET` and `PUT /projects/:id/files/:name`. */
export const Filesystem: Definition = {
  name: "filesystem",
  routes: () => {
    const projects = new Map([
      [
        "p-1",
        new Map([
          ["README.md", "# Analytical engine\n"],
          ["notes.txt", "Bernoulli numbers\n"]
        ])
      ],
      ["p-2", new Map([["README.md", "# Imitation game\n"]])]
    ])
    return {
      "GET /projects/:id/files": ({ param }) => {
        const files = projects.get(param("id"))
        return files === undefined ? [404, { error: "no such project" }] : [200, { files: [...files.keys()] }]
      },
      "GET /projects/:id/files/:name": ({ param }) => {
        const name = param("name")
        const content = projects.get(param("id"))?.get(name)
        return content === undefined ? [404, { error: "no such file" }] : [200, { name, content }]
      },
      "PUT /projects/:id/files/:name": ({ param, body }) => {
        const name = param("name")
        const files = projects.get(param("id"))
        if (files === undefined) return [404, { error: "no such project" }]
        if (typeof body.content !== "string") return [400, { error: "content must be a string" }]
        files.set(name, body.content)
        return [200, { name, content: body.content }]
      }
    }
  }
}
