import { cpSync, globSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root, run } from "./run.ts"

/**
 * The configuration of Changesets is valid, and every changeset names packages that exist and bumps that it knows.
 *
 * `changeset status` compares with the main branch, which a shallow or detached clone does not have. So it reads a copy
 * of the manifests whose only commit is that branch.
 */
export const checkChangesets = (): void => {
  const copy = mkdtempSync(join(tmpdir(), "failsoft-changesets-"))
  try {
    const manifests = [
      "package.json",
      "pnpm-workspace.yaml",
      ".changeset",
      "{packages,examples}/*/package.json"
    ]
    for (const path of globSync(manifests, { cwd: root })) {
      cpSync(join(root, path), join(copy, path), { recursive: true })
    }
    run(copy, "git", "init", "--quiet", "--initial-branch=main")
    run(copy, "git", "add", ".")
    const author = ["-c", "user.name=check", "-c", "user.email=check@localhost"]
    run(copy, "git", ...author, "commit", "--quiet", "--message=manifests")
    run(copy, "changeset", "status")
  } finally {
    rmSync(copy, { recursive: true })
  }
}
