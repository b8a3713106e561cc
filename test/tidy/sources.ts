import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import type { SourceFile } from "typescript/unstable/ast"
import { API } from "typescript/unstable/sync"

/** The top folder of the repository. */
export const root = join(import.meta.dirname, "../..")

/** The text of a file, named from the top folder. */
export const read = (file: string): string => readFileSync(join(root, file), "utf8")

/** The files that match, named from the top folder, in a stable order. */
export const filesOf = (...patterns: ReadonlyArray<string>): ReadonlyArray<string> =>
  globSync(patterns, { cwd: root }).sort()

/** One TypeScript module, parsed. */
export interface Source {
  readonly file: string
  readonly text: string
  readonly ast: SourceFile
}

const texts = new Map<string, string>()

const compiler = new API({
  cwd: "/",
  fs: {
    fileExists: (file) => texts.has(file),
    readFile: (file) => texts.get(file) ?? null,
    directoryExists: () => false
  }
})

/** Parses modules given as text, so that a planted violation needs no file. */
export const parse = (modules: Readonly<Record<string, string>>): ReadonlyArray<Source> => {
  const home = `/${texts.size}`
  const files = Object.keys(modules)
  const compilerOptions = { noResolve: true, noLib: true, types: [] }
  texts.set(`${home}/tsconfig.json`, JSON.stringify({ compilerOptions, files }))
  for (const file of files) texts.set(`${home}/${file}`, modules[file] ?? "")
  const snapshot = compiler.updateSnapshot({ openProjects: [`${home}/tsconfig.json`] })
  const program = snapshot.getProject(`${home}/tsconfig.json`)?.program
  return files.map((file) => {
    const ast = program?.getSourceFile(`${home}/${file}`)
    if (ast === undefined) throw new Error(`${file} was not parsed`)
    return { file, text: modules[file] ?? "", ast }
  })
}
