import { spawnSync } from "node:child_process"
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { root } from "./sources.ts"

/** The lint rules that each piece of code breaks as module `Planted<index>.ts` of a package, in a folder of its own. */
export const refusals = (planted: ReadonlyArray<string>): ReadonlyArray<ReadonlyArray<string>> => {
  const folder = mkdtempSync(join(tmpdir(), "failsoft-lint-"))
  try {
    const sources = join(folder, "packages/failsoft/src")
    mkdirSync(sources, { recursive: true })
    copyFileSync(join(root, "biome.json"), join(folder, "biome.json"))
    planted.forEach((code, index) => {
      writeFileSync(join(sources, `Planted${index}.ts`), `${code}\n`)
    })
    const options = ["--vcs-enabled=false", "--max-diagnostics=none", "--reporter=github"]
    const { stdout } = spawnSync(join(root, "node_modules/.bin/biome"), ["lint", ...options], {
      cwd: folder,
      encoding: "utf8"
    })
    const found = [...stdout.matchAll(/lint\/\w+\/(\w+),file=\S*?Planted(\d+)\.ts/g)]
    return planted.map((_, index) =>
      found.flatMap(([, rule, file]) => (rule !== undefined && file === `${index}` ? [rule] : []))
    )
  } finally {
    rmSync(folder, { recursive: true })
  }
}
