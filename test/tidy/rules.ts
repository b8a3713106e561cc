import {
  isAsExpression,
  isModuleBlock,
  isModuleDeclaration,
  isVariableStatement,
  type Node,
  type Statement,
  SyntaxKind
} from "typescript/unstable/ast"
import { wrongImports } from "./layers.ts"
import type { Source } from "./sources.ts"

/** A rule that every module of the packages keeps, and a module that breaks it. */
export interface Rule {
  readonly name: string
  readonly violations: (source: Source) => ReadonlyArray<string>
  readonly planted: Readonly<Record<string, string>>
}

/** Lines of code, without blank lines and comments. */
const limits = { "/src/state/": 200, "/src/": 300 }

const at = ({ file, ast }: Source, position: number): string =>
  `${file}:${ast.getLineAndCharacterOfPosition(position).line + 1}`

const tooLong = ({ file, text }: Source): ReadonlyArray<string> => {
  const lines = text.split("\n").filter((line) => !/^\s*(?:$|\/\/|\/?\*)/.test(line)).length
  const limit = Object.entries(limits).find(([folder]) => file.includes(folder))?.[1] ?? 0
  return lines > limit ? [`${file} has ${lines} lines of code; ${limit} are allowed`] : []
}

const nodesOf = (node: Node): ReadonlyArray<Node> => {
  const nodes = [node]
  node.forEachChild((child) => {
    nodes.push(...nodesOf(child))
  })
  return nodes
}

const isExported = (statement: Statement): boolean =>
  "modifiers" in statement &&
  (statement.modifiers as ReadonlyArray<Node> | undefined)?.some(
    ({ kind }) => kind === SyntaxKind.ExportKeyword
  ) === true

const namesOf = (statement: Statement): ReadonlyArray<string> =>
  isVariableStatement(statement)
    ? statement.declarationList.declarations.map(({ name }) => name.getText())
    : "name" in statement
      ? [(statement.name as Node).getText()]
      : []

/** One comment serves all declarations of a name: overloads, or a type beside its constructor. */
const undocumented = (source: Source): ReadonlyArray<string> => {
  if (/\/src\/(?:state|internal)\//.test(source.file)) return []
  const search = (statements: ReadonlyArray<Statement>, prefix: string): ReadonlyArray<string> => {
    const exported = statements.filter(isExported)
    const documented = new Set(
      exported
        .filter((statement) => (statement.jsDoc ?? []).length > (statement.pos === 0 ? 1 : 0))
        .flatMap(namesOf)
    )
    return [
      ...exported
        .flatMap(namesOf)
        .filter((name) => !documented.has(name))
        .map((name) => `${prefix}${name}`),
      ...exported.flatMap((statement) =>
        isModuleDeclaration(statement) && statement.body !== undefined && isModuleBlock(statement.body)
          ? search(statement.body.statements, `${prefix}${statement.name.getText()}.`)
          : []
      )
    ]
  }
  return [
    ...(source.text.startsWith("/**") ? [] : [`${source.file} does not begin with a module comment`]),
    ...search(source.ast.statements, "").map((name) => `${source.file}: ${name} has no doc comment`)
  ]
}

const unchecked = (source: Source): ReadonlyArray<string> =>
  nodesOf(source.ast)
    .filter(
      (node) =>
        node.kind === SyntaxKind.AnyKeyword || (isAsExpression(node) && isAsExpression(node.expression))
    )
    .map((node) => `${at(source, node.getStart())}: ${node.getText()}`)

const matches =
  (pattern: RegExp) =>
  (source: Source): ReadonlyArray<string> =>
    [...source.text.matchAll(pattern)].map(({ 0: text, index }) => `${at(source, index)}: ${text}`)

export const rules: ReadonlyArray<Rule> = [
  {
    name: "imports only what is before it in the one-way order",
    violations: wrongImports,
    planted: { "packages/failsoft/src/state/Planted.ts": `import { make } from "../CircuitBreaker.ts"` }
  },
  {
    name: "begins with a module comment and documents every export",
    violations: undocumented,
    planted: { "packages/failsoft/src/Planted.ts": "/** The module. */\n\nexport const planted = 1\n" }
  },
  {
    name: "stays within its size",
    violations: tooLong,
    planted: { "packages/failsoft/src/state/Planted.ts": "export {}\n".repeat(limits["/src/state/"] + 1) }
  },
  {
    name: "asserts no type away",
    violations: unchecked,
    planted: { "packages/http/src/Planted.ts": "export const planted = 1 as unknown as string\n" }
  },
  {
    name: "silences no type error",
    violations: matches(/@ts-\w+/g),
    planted: { "packages/http/src/Planted.ts": "// @ts-expect-error\n" }
  },
  {
    name: "leaves nothing for later",
    violations: matches(/\b(?:TODO|FIXME)\b/g),
    planted: { "packages/http/src/Planted.ts": "// TODO\n" }
  }
]
