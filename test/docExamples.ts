/**
 * The examples of the documentation, as tests.
 *
 * Each fence marked `ts import.meta.vitest`, in a page or in a doc comment, becomes one test file under `test/.docs/`.
 * Every line of it keeps the line number of its source, so a failure or a type error reads
 * `test/.docs/README.md.L40.test.ts:45`: line 45 of `README.md`, in the fence that opens on line 40.
 */
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const root = join(import.meta.dirname, "..")
const folder = join(import.meta.dirname, ".docs")
const documents = ["*.md", "docs/**/*.md", "packages/*/README.md", "packages/*/src/**/*.ts"]

export interface Fence {
  /** The line that opens the fence, counted from 1. */
  readonly line: number
  readonly info: string
  readonly code: ReadonlyArray<string>
}

/** The fences of a page, or of the doc comments of a module. */
export const fences = (file: string, text: string): ReadonlyArray<Fence> => {
  const margin = file.endsWith(".ts") ? /^\s*\* ?/ : /^/
  const found: Array<Fence> = []
  let open: { line: number; info: string; code: Array<string> } | undefined
  text.split("\n").forEach((raw, index) => {
    const line = raw.replace(margin, "")
    const info = /^\s*```(.*)$/.exec(line)?.[1]
    if (info === undefined) open?.code.push(line)
    else if (open === undefined) open = { line: index + 1, info: info.trim(), code: [] }
    else {
      found.push(open)
      open = undefined
    }
  })
  if (open !== undefined) throw new Error(`${file}:${open.line}: the fence is never closed`)
  return found
}

const isOpen = (code: string): boolean =>
  /^\s*[.)\]}]/.test(code) || (code.match(/[([{]/g) ?? []).length < (code.match(/[)\]}]/g) ?? []).length

/** Turns `expression // => value` into an assertion; the expression may have begun on an earlier line. */
const assertion = (lines: Array<string>, index: number): void => {
  const [, code, expected] = /^(.*?)\s*\/\/ => (.+)$/.exec(lines[index] ?? "") ?? []
  if (code === undefined) return
  let start = index
  let expression = code
  while (start > 0 && isOpen(expression)) expression = `${lines[--start]}\n${expression}`
  lines[index] = `${code}).toEqual(${expected})`
  lines[start] = lines[start]?.replace(/\S/, "expect($&") ?? ""
}

/** A fence as a test file: its imports stay at the top, the rest runs inside one test. */
export const testFile = (source: string, fence: Fence): string => {
  const lines = [...fence.code]
  lines.forEach((_, index) => {
    assertion(lines, index)
  })
  const code = ["", ...lines].join("\n")
  const imports = /^(?:[\s\S]*^import\s[^"]*"[^"]+")?/m.exec(code)?.[0] ?? ""
  const name = JSON.stringify(`${source}:${fence.line}`)
  return `import { expect, test } from "vitest"${"\n".repeat(fence.line - 1)}${imports};test(${name}, async () => {${code.slice(imports.length)}\n})\n`
}

/** Brings `test/.docs/` up to date, touching only what changed, so that runs beside each other do not collide. */
export const writeDocExamples = (): void => {
  const wanted = new Map<string, string>()
  for (const source of globSync(documents, { cwd: root })) {
    for (const fence of fences(source, readFileSync(join(root, source), "utf8"))) {
      if (fence.info !== "ts import.meta.vitest") continue
      wanted.set(`${source.replaceAll("/", ".")}.L${fence.line}.test.ts`, testFile(source, fence))
    }
  }
  mkdirSync(folder, { recursive: true })
  const present = new Map(
    globSync("*.ts", { cwd: folder }).map((file) => [file, readFileSync(join(folder, file), "utf8")])
  )
  for (const file of present.keys()) if (!wanted.has(file)) rmSync(join(folder, file))
  for (const [file, text] of wanted) if (present.get(file) !== text) writeFileSync(join(folder, file), text)
}

if (import.meta.main) writeDocExamples()
