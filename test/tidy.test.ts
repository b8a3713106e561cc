import { execFileSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import { policiesOf, wrongImports } from "./tidy/layers.ts"
import { refusals } from "./tidy/linter.ts"
import { brokenLinks, evasions, localNames, type Page, untestedFences } from "./tidy/pages.ts"
import { rules } from "./tidy/rules.ts"
import { filesOf, parse, read, root, type Source } from "./tidy/sources.ts"

const pagesOf = (files: ReadonlyArray<string>): ReadonlyArray<Page> =>
  files.map((file) => ({ file, text: read(file) }))

const sourcesOf = (...patterns: ReadonlyArray<string>): ReadonlyArray<Source> =>
  parse(Object.fromEntries(filesOf(...patterns).map((file) => [file, read(file)])))

const documents = filesOf(
  "*.md",
  "docs/**/*.md",
  "packages/*/README.md",
  "examples/*/README.md",
  ".changeset/*.md"
)

describe("every module of the packages", () => {
  const sources = sourcesOf("packages/*/src/**/*.ts")

  for (const { name, violations, planted } of rules) {
    it(name, () => {
      expect(sources.flatMap(violations)).toEqual([])
      expect(parse(planted).flatMap(violations)).toHaveLength(1)
    })
  }
})

describe("the linter", () => {
  it("refuses in a package what packages do without", () => {
    const planted: ReadonlyArray<readonly [code: string, rule: string]> = [
      [`import "./Planted1.ts"`, "noImportCycles"],
      [`import "./Planted0.ts"`, "noImportCycles"],
      [`import "./Planted0"`, "useImportExtensions"],
      [`import "node:fs"`, "noRestrictedImports"],
      ["Math.random()", "noJsRestrictedProperties"],
      ["export const planted: any = 1", "noExplicitAny"],
      ["export const planted = [1][0]!", "noNonNullAssertion"],
      ["// @ts-ignore", "noTsIgnore"],
      [`export const planted = () => {${"\nvoid 0".repeat(71)}\n}`, "noExcessiveLinesPerFunction"],
      ...["Date", "performance", "setTimeout", "setInterval", "console", "process", "globalThis"].map(
        (name) => [`void ${name}`, "noRestrictedGlobals"] as const
      )
    ]
    expect(refusals(planted.map(([code]) => code))).toEqual(
      planted.map(([, rule]) => expect.arrayContaining([rule]))
    )
  })
})

describe("the one-way order", () => {
  const violations = (file: string, specifier: string) =>
    parse({ [file]: `import * as planted from "${specifier}"` }).flatMap(wrongImports)

  it.each([
    ["packages/failsoft/src/state/Circuit.ts", "effect/Effect"],
    ["packages/failsoft/src/Outcome.ts", "./internal/admission.ts"],
    ["packages/failsoft/src/internal/admission.ts", "../CircuitBreaker.ts"],
    ["packages/failsoft/src/CircuitBreaker.ts", "./Retry.ts"],
    ["packages/failsoft/src/RateLimiter.ts", "./Retry.ts"],
    ["packages/failsoft/src/Retry.ts", "./Policy.ts"],
    ["packages/failsoft/src/Policy.ts", "./interop/toEffect.ts"],
    ["packages/failsoft/src/Policy.ts", "effect/persistence"],
    ["packages/failsoft/src/Policy.ts", "effect/Graph"],
    ["packages/failsoft/src/index.ts", "./interop/toEffect.ts"],
    ["packages/failsoft/src/Health.ts", "@failsoft/http"],
    ["packages/http/src/ServiceClient.ts", "../../failsoft/src/Policy.ts"],
    ["packages/http/src/ServiceClient.ts", "ioredis"],
    ["examples/chat-gateway/src/start.ts", "../../../test/docExamples.ts"]
  ])("keeps %s from importing %s", (file, specifier) => {
    expect(violations(file, specifier)).toEqual([`${file} imports ${specifier}`])
  })

  it.each([
    ["packages/failsoft/src/state/Circuit.ts", "./Window.ts"],
    ["packages/failsoft/src/Retry.ts", "./RetryBudget.ts"],
    ["packages/failsoft/src/RateLimiter.ts", "./Deadline.ts"],
    ["packages/failsoft/src/Policy.ts", "./Retry.ts"],
    ["packages/failsoft/src/interop/toEffect.ts", "effect/persistence"],
    ["packages/http/src/ServiceClient.ts", "effect/http"],
    ["examples/chat-gateway/src/start.ts", "@failsoft/http"]
  ])("lets %s import %s", (file, specifier) => {
    expect(violations(file, specifier)).toEqual([])
  })

  it("holds in the examples", () => {
    expect(sourcesOf("examples/*/src/**/*.ts").flatMap(wrongImports)).toEqual([])
  })
})

describe("every policy", () => {
  const headings = [
    "When to use it",
    "A first example",
    "Defaults",
    "Errors",
    "Telemetry",
    "Composition",
    "Anti-patterns"
  ]
  const policies = [...policiesOf(filesOf("packages/failsoft/src/**/*.ts")), "Policy", "Degradable"]

  it.each(policies)("%s has a test, a page and a line in the index", (name) => {
    const page = `docs/policies/${name.replace(/(?<=[a-z])(?=[A-Z])/g, "-").toLowerCase()}.md`
    const missing = [`test/failsoft/${name}.test.ts`, page].filter((file) => !existsSync(join(root, file)))
    expect(missing).toEqual([])
    expect([...read(page).matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)).toEqual(headings)
    expect(read("packages/failsoft/src/index.ts")).toContain(`"./${name}.ts"`)
  })
})

describe("every page", () => {
  it("shows only code that is tested", () => {
    const documented = pagesOf([...documents, ...filesOf("packages/*/src/**/*.ts")])
    expect(documented.flatMap(untestedFences)).toEqual([])
    expect(untestedFences({ file: "planted.md", text: "# A\n\n```ts\nplanted()\n```\n" })).toEqual([
      "planted.md:3: ```ts"
    ])
  })

  it("links to files that exist", () => {
    expect(pagesOf(documents).flatMap(brokenLinks)).toEqual([])
    expect(
      brokenLinks({ file: "docs/planted.md", text: "[a](../package.json) [b](package.json#top)" })
    ).toEqual(["docs/planted.md links to package.json"])
  })
})

describe("every test", () => {
  it("always runs, and runs once", () => {
    const tests = filesOf("test/**/*.test.ts").filter((file) => file !== "test/tidy.test.ts")
    expect(pagesOf(tests).flatMap(evasions)).toEqual([])
    expect(
      evasions({ file: "planted.test.ts", text: "it.skip()\nit.effect.only()\n({ retry: 3 })" })
    ).toHaveLength(3)
  })
})

describe("every tracked file", () => {
  it("names no machine", () => {
    const files = execFileSync("git", ["ls-files", "-z", "--cached", "--others", "--exclude-standard"], {
      cwd: root,
      encoding: "utf8"
    })
    const present = files.split("\0").filter((file) => file !== "" && existsSync(join(root, file)))
    expect(pagesOf(present).flatMap(localNames)).toEqual([])
    expect(localNames({ file: "planted.md", text: ["", "home", "me"].join("/") })).toHaveLength(1)
  })
})
