import { posix } from "node:path"
import { isImportDeclaration, isNamedImports, isStringLiteral, SyntaxKind } from "typescript/unstable/ast"
import { filesOf, read, type Source } from "./sources.ts"

/** The layers of `packages/failsoft/src`, one way: a module imports from the layers listed before its own. */
const layers = {
  rules: ["state/*", "Lru"],
  language: [
    "ServiceUnavailable",
    "InvalidOption",
    "Outcome",
    "Trip",
    "Limit",
    "CircuitEvent",
    "KeyedCircuit",
    "CacheEvent",
    "ReloadEvent",
    "PolicyEvent",
    "Served",
    "Metrics",
    "Health",
    "Spans"
  ],
  shell: [
    "internal/*",
    "internal/attempts/*",
    "internal/bulkhead/*",
    "internal/cache/*",
    "internal/circuit/*",
    "internal/degradable/*",
    "internal/limiter/*"
  ],
  policies: [] as Array<string>, // every module that no other layer names
  composition: ["internal/policy/*", "PolicyConfig", "Policy", "Policies", "Degradable"],
  index: ["index"],
  interop: ["interop/*"]
} satisfies Record<string, ReadonlyArray<string>>

/** A policy imports no other policy, save where that policy is its subject. */
const exceptions = [
  "Retry → RetryBudget",
  "Retry → Deadline",
  "Bulkhead → Deadline",
  "Hedge → Deadline",
  "RateLimiter → Deadline",
  "StaleCache → Deadline",
  "Hedge → RetryBudget"
]

const order = Object.keys(layers) as ReadonlyArray<keyof typeof layers>

const nameOf = (file: string): string => file.replace(/^.*?\/src\/(.*)\.ts$/, "$1")

const layerOf = (name: string): keyof typeof layers =>
  order.find((layer) => [name, `${posix.dirname(name)}/*`].some((entry) => layers[layer].includes(entry))) ??
  "policies"

/** The names of the policies among the modules of `packages/failsoft/src`. */
export const policiesOf = (files: ReadonlyArray<string>): ReadonlyArray<string> =>
  files.map(nameOf).filter((name) => layerOf(name) === "policies")

interface Import {
  readonly specifier: string
  readonly typeOnly: boolean
  readonly names: ReadonlyArray<string>
}

const importsOf = ({ ast }: Source): ReadonlyArray<Import> =>
  ast.imports.filter(isStringLiteral).map(({ text, parent }) => {
    const clause = isImportDeclaration(parent) ? parent.importClause : undefined
    const bindings = clause?.namedBindings
    return {
      specifier: text,
      typeOnly: clause?.phaseModifier === SyntaxKind.TypeKeyword,
      names:
        bindings !== undefined && isNamedImports(bindings)
          ? bindings.elements.map(({ name, propertyName }) => (propertyName ?? name).text)
          : []
    }
  })

const mayImportModule = (from: string, to: string): boolean => {
  const distance = order.indexOf(layerOf(from)) - order.indexOf(layerOf(to))
  return (
    distance > 0 || (distance === 0 && layerOf(from) !== "policies") || exceptions.includes(`${from} → ${to}`)
  )
}

const declaredBy = (home: string): ReadonlyArray<string> => {
  const { dependencies = {}, peerDependencies = {} } = JSON.parse(read(`${home}/package.json`))
  return Object.keys({ ...dependencies, ...peerDependencies })
}

const stableEffectModules = new Set(
  filesOf("node_modules/effect/src/*.ts")
    .filter((file) => /@stability (\w+)/.exec(read(file))?.[1] === "stable")
    .map(nameOf)
)

const isStable = ({ specifier, names }: Import): boolean =>
  specifier === "effect"
    ? names.every((name) => !/^[A-Z]/.test(name) || stableEffectModules.has(name))
    : stableEffectModules.has(specifier.replace("effect/", ""))

const mayImport = (file: string, imported: Import): boolean => {
  const home = file.replace(/\/src\/.*$/, "")
  const layer = home === "packages/failsoft" ? layerOf(nameOf(file)) : undefined
  if (imported.specifier.startsWith(".")) {
    const target = posix.join(posix.dirname(file), imported.specifier)
    return (
      target.startsWith(`${home}/src/`) &&
      (layer === undefined || mayImportModule(nameOf(file), nameOf(target)))
    )
  }
  // Which packages may use Node's own modules is for the linter to say.
  if (imported.specifier.startsWith("node:")) return true
  const dependency = /^(?:@[^/]+\/)?[^/]+/.exec(imported.specifier)?.[0] ?? ""
  if (!declaredBy(home).includes(dependency)) return false
  if (layer === "rules") return imported.typeOnly
  return layer === undefined || layer === "interop" || isStable(imported)
}

/** The imports of a package's or an example's module that break the one-way order. */
export const wrongImports = (source: Source): ReadonlyArray<string> =>
  importsOf(source)
    .filter((imported) => !mayImport(source.file, imported))
    .map((imported) => `${source.file} imports ${imported.specifier}`)
